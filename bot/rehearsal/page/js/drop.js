// Files dropped anywhere on the page go to the message field, or to the command that waits for one.

import { byId } from "./dom.js";

export function acceptDrops(onFiles) {
  const zone = byId("dropzone");
  let depth = 0; // dragenter and dragleave come for every element that is crossed
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files") && !document.querySelector("dialog[open]");
  const show = (on) => {
    zone.hidden = !on;
    if (!on) depth = 0;
  };
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    show(true);
  });
  addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth -= 1;
    if (depth <= 0) show(false);
  });
  // Without this the browser would leave the page for the file.
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    const files = carriesFiles(event) ? [...event.dataTransfer.files] : [];
    show(false);
    if (files.length) onFiles(files);
  });
}
