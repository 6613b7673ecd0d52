export interface DatabaseOptions {
  /** Connection string of the device's database. */
  url: string;
}

/** Injection token of DatabaseOptions. */
export const DATABASE_OPTIONS = Symbol('database options');
