/** The two services; each has a database and an address of its own. */
export type Side = 'central' | 'edge';
