// Discord's ids: 64-bit numbers as decimal strings, with the time of creation in the upper bits. JavaScript's numbers are too small for them.

/** Orders two ids by age: negative when a is older. */
export const compareIds = (a, b) => String(a).length - String(b).length || (String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0);

let last = 0;
/** A nonce for an interaction: unique in this page and unlikely anywhere else. */
export const makeNonce = () => `${Date.now()}${String(++last).padStart(4, "0")}${Math.floor(Math.random() * 1000)}`;
