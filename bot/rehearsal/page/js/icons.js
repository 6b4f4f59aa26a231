// The page's icons as SVG path data on a 24 × 24 grid, drawn with strokes in the colour of the text.

const PATHS = {
  hash: "M9.5 4 7.5 20M16.5 4l-2 16M4.5 9h16M3.5 15h16",
  thread: "M5 4v8a4 4 0 0 0 4 4h10M15 12l4 4-4 4M11 6h8M11 10h5",
  menu: "M4 7h16M4 12h16M4 17h10",
  people: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 20c.4-3.6 2.8-6 6.5-6s6.100 2.400 6.500 6M16 4.300a3.500 3.500 0 0 1 0 6.400M18 14.400c2 .8 3.200 2.800 3.500 5.600",
  compass: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM15.500 8.500l-2 5-5 2 2-5z",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  send: "M4 12 20 4l-5 16-4-6.500zM11 13.500 20 4",
  smile: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM8.500 14.500c.9 1.400 2.100 2 3.500 2s2.600-.6 3.500-2M9 9.500v.01M15 9.500v.01",
  more: "M5.500 12h.01M12 12h.01M18.500 12h.01",
  reply: "M9 6 4 11l5 5M4 11h9a7 7 0 0 1 7 7v1",
  play: "M8 5.500v13l10.500-6.500z",
  pause: "M8.500 5.500v13M15.500 5.500v13",
  download: "M12 4v11M7.500 11 12 15.500 16.500 11M5 20h14",
  volume: "M4 9.500v5h3.500L12 18V6L7.500 9.500zM15.500 9.500a3.500 3.500 0 0 1 0 5M18 7a7 7 0 0 1 0 10",
  muted: "M4 9.500v5h3.500L12 18V6L7.500 9.500zM16 10l4.500 4.500M20.500 10 16 14.500",
  file: "M7 3h7l4 4v14H7zM14 3v4h4M10 12h5M10 16h5",
  sheet: "M5 4h14v16H5zM5 9.500h14M5 15h14M11 9.500V20",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-2.500 4 3.500M15.500 9.500v.01",
  eye: "M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12ZM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z",
  trash: "M4.500 7h15M9.500 7V4.500h5V7M6.500 7l1 13h9l1-13M10 11v5.500M14 11v5.500",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M5 12.500 10 17.500 19.500 7",
  down: "M6 9.500l6 6 6-6",
  up: "M6 14.500l6-6 6 6",
  link: "M14 5h5v5M19 5l-8 8M17 14v5H5V7h5",
  sparkle: "M12 3.500 14 10l6.500 2-6.500 2-2 6.500-2-6.500-6.500-2L10 10z",
  warning: "M12 4 2.500 20h19zM12 10v4.500M12 17.500v.01",
  plug: "M9 3v5M15 3v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v4",
  spark: "M13 3 5 14h6l-1 7 8-11h-6z",
};

const FILLED = new Set(["play", "spark", "send"]);

/** An icon for the eye only: whatever holds it has a name of its own. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", FILLED.has(name) ? "icon icon-filled" : "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
