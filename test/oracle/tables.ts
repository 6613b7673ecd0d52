/** A column of central's. Its values follow from its type, or are keys of another table. */
export interface Column {
  name: string;
  type: 'bigint' | 'uuid' | 'text' | 'int' | 'numeric' | 'float8' | 'boolean' | 'timestamptz' | 'bytea' | 'jsonb' | 'text[]' | 'macaddr';
  /** The table whose `id` it holds. */
  of?: string;
}

/** A table of the plan. */
export interface Table {
  name: string;
  columns: readonly Column[];
  /** Names of columns. */
  key: readonly string[];
  /** As in the plan; all rows without it. */
  where?: string;
  /** As in the plan: what devices get. All columns without it. */
  listed?: readonly string[];
}

/** What a plan says, as the judge needs it. */
export interface Shares {
  tables: readonly Table[];
  /** The scope query: its columns are the parameters of `where`. */
  scope: string;
}

/** Names of added columns by table. */
export type AddedColumns = Readonly<Record<string, readonly string[]>>;

/** So begin the names of columns that are added later. Where the plan lists no columns, devices must have them, too, once central was started again. */
export const ADDED = 'added_';

/** Names of the columns that devices get. */
export function sharedColumns({ name, columns, listed }: Table, added: AddedColumns): readonly string[] {
  return listed ?? [...columns.map((column) => column.name), ...(added[name] ?? [])];
}
