"""Whether ffmpeg is here, asked before work begins rather than after."""

from engine.errors import EngineError


def require_audio_tools() -> None:
    """Raises EngineError with the command that installs what is missing."""
    from engine.music.audio import AudioToolsMissing, require_tools

    try:
        require_tools()
    except AudioToolsMissing as error:
        raise EngineError("internal", str(error)) from error
