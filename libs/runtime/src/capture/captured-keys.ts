/**
 * The values of a key, as the triggers record it: a single column as its text, several as the text of a record.
 * @param count of the key's columns
 */
export function readCapturedKey(text: string, count: number): string[] {
  if (count === 1) return [text];
  // PostgreSQL quotes what is empty or has special characters; within quotes it doubles quotes and backslashes.
  const fields = text.slice(1, -1).match(/"(?:[^"\\]|""|\\\\)*"|[^,]+/g) ?? [];
  return fields.map((field) => (field.startsWith('"') ? field.slice(1, -1).replace(/""|\\\\/g, (pair) => pair.charAt(0)) : field));
}
