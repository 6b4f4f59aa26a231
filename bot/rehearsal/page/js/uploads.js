// Files on their way to the stage: sizes in words, the limit, and the upload itself.

import { RequestError } from "./socket.js";

/** 1536 -> "1.5 KB" (1,024-based, as chat clients show it). */
export function fileSize(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KB", "MB", "GB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 ? Math.round(value) : Math.round(value * 10) / 10} ${units[unit]}`;
}

/** Throws a RequestError that names the first file above the limit. */
export function checkSizes(files, limitBytes) {
  for (const file of files) {
    if (limitBytes && file.size > limitBytes) {
      throw new RequestError(`${file.name} has ${fileSize(file.size)}. The limit here is ${fileSize(limitBytes)} a file.`);
    }
  }
}

/** Sends one file; resolves with its upload_id. */
export async function upload(file, limitBytes) {
  checkSizes([file], limitBytes);
  let response;
  try {
    response = await fetch(`/page/uploads?filename=${encodeURIComponent(file.name)}`, {
      method: "POST",
      body: file,
      headers: { "Content-Type": file.type || "application/octet-stream" },
    });
  } catch {
    throw new RequestError(`${file.name} could not be sent: there is no connection to the rehearsal.`);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || !answer.upload_id) throw new RequestError(answer.error || `${file.name} was refused (${response.status}).`);
  return answer.upload_id;
}

/** Sends files one after another, in order. */
export async function uploadAll(files, limitBytes) {
  checkSizes(files, limitBytes);
  const ids = [];
  for (const file of files) ids.push(await upload(file, limitBytes));
  return ids;
}
