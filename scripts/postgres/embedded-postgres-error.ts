/** Something that the person at the terminal can act on: the message says what, the hint says how. */
export class EmbeddedPostgresError extends Error {
  constructor(
    message: string,
    readonly hint: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'EmbeddedPostgresError';
  }
}
