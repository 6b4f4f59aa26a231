"""Audio as DJs have it: decoding untrusted uploads, resampling, loudness, seams, encoding, tags, pictures. No model lives here."""
