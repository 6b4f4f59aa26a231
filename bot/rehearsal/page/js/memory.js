// What this browser remembers between visits. A browser that forbids it is a browser that forgets: nothing here ever throws.

/** The value kept under a name, or the fallback. Kept "local"ly for all tabs, or in this tab's own "session". */
export function recall(name, fallback, kind = "local") {
  try {
    const text = window[`${kind}Storage`].getItem(`rehearsal-${name}`);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

export function remember(name, value, kind = "local") {
  try {
    window[`${kind}Storage`].setItem(`rehearsal-${name}`, JSON.stringify(value));
  } catch {
    // Forgotten, then.
  }
}
