// Comma-separated values (RFC 4180) as rows. Pure.

/** "a,\"b \"\"c\"\"\"\n1,2" -> [["a", 'b "c"'], ["1", "2"]]; at most maxRows rows are read. */
export function parseCsv(text, maxRows = Infinity) {
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  const endRow = () => {
    row.push(cell);
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
    cell = "";
  };
  for (let at = text.startsWith("\uFEFF") ? 1 : 0; at < text.length && rows.length < maxRows; at += 1) {
    const character = text[at];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text[at + 1] === '"') cell += text[++at];
      else quoted = false;
    } else if (character === '"' && cell === "") quoted = true;
    else if (character === ",") {
      row.push(cell);
      cell = "";
    } else if (character === "\n") endRow();
    else if (character !== "\r") cell += character;
  }
  if (rows.length < maxRows && (cell !== "" || row.length)) endRow();
  return rows;
}
