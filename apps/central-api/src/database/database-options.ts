export interface DatabaseOptions {
  /** Connection string of the central database. */
  url: string;
  /** Builds and payloads at one time: each holds a connection. */
  maxBuilds: number;
  maxPayloads: number;
}

/** Injection token of DatabaseOptions. */
export const DATABASE_OPTIONS = Symbol('database options');
