// From audio bytes to the bars of a waveform, and the bars onto a canvas.

const BUCKETS = 400; // levels kept per file; bars are drawn from these
const DECODE_RATE_HZ = 8_000; // enough for a picture of loudness, and small in memory
const BAR_PX = 3;
const GAP_PX = 2;
const MIN_BAR_PX = 3;

/** Decodes audio; resolves with {levels: Float32Array in [0, 1], duration: seconds}. Rejects when the browser can't read it. */
export async function readWaveform(bytes) {
  const decoder = new OfflineAudioContext(1, 1, DECODE_RATE_HZ);
  const audio = await decoder.decodeAudioData(bytes);
  const channels = Array.from({ length: audio.numberOfChannels }, (_, index) => audio.getChannelData(index));
  return { levels: levelsOf(channels), duration: audio.duration };
}

/** Loudness over time: root mean square and peak in equal parts, so that a kick stands out of a bass. The loudest is 1. */
export function levelsOf(channels, buckets = BUCKETS) {
  const samples = channels[0].length;
  const count = Math.max(1, Math.min(buckets, samples));
  const levels = new Float32Array(count);
  for (let bucket = 0; bucket < count; bucket += 1) {
    const from = Math.floor((bucket * samples) / count);
    const to = Math.max(from + 1, Math.floor(((bucket + 1) * samples) / count));
    let peak = 0;
    let squares = 0;
    for (const channel of channels) {
      for (let at = from; at < to; at += 1) {
        const value = Math.abs(channel[at] ?? 0);
        if (value > peak) peak = value;
        squares += value * value;
      }
    }
    levels[bucket] = 0.5 * peak + 0.5 * Math.sqrt(squares / ((to - from) * channels.length));
  }
  const loudest = levels.reduce((most, value) => Math.max(most, value), 0) || 1;
  return levels.map((value) => value / loudest);
}

/** Levels for a number of bars: the loudest of those that fall into each, with the differences stretched so that they can be seen. */
export function barsOf(levels, count) {
  const quietest = levels.reduce((least, value) => Math.min(least, value), 1);
  const floor = Math.min(quietest, 0.6) * 0.5;
  return Array.from({ length: count }, (_, bar) => {
    const from = Math.floor((bar * levels.length) / count);
    const to = Math.max(from + 1, Math.floor(((bar + 1) * levels.length) / count));
    let most = 0;
    for (let at = from; at < to; at += 1) most = Math.max(most, levels[at]);
    return Math.max(0, (most - floor) / (1 - floor)) ** 1.1;
  });
}

/** Draws bars: played ones in the page's spectrum, the rest pale. levels null: a flat line. played and hover in [0, 1]. */
export function drawWaveform(canvas, { levels, played, hover }) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !height) return;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const brush = canvas.getContext("2d");
  brush.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const spectrum = brush.createLinearGradient(0, 0, width, 0);
  ["--spectrum-1", "--spectrum-2", "--spectrum-3"].forEach((name, index) => spectrum.addColorStop(index / 2, style.getPropertyValue(name).trim() || "#fff"));
  const pale = style.getPropertyValue("--wave-rest").trim() || "#666";
  const near = style.getPropertyValue("--wave-hover").trim() || "#999";
  const count = Math.max(1, Math.floor((width + GAP_PX) / (BAR_PX + GAP_PX)));
  const bars = levels ? barsOf(levels, count) : new Array(count).fill(0);
  bars.forEach((level, bar) => {
    const x = bar * (BAR_PX + GAP_PX);
    const middle = (bar + 0.5) / count;
    const length = Math.max(MIN_BAR_PX, level * height);
    brush.fillStyle = middle <= played ? spectrum : middle <= hover ? near : pale;
    brush.beginPath();
    brush.roundRect(x, (height - length) / 2, BAR_PX, length, BAR_PX / 2);
    brush.fill();
  });
}
