/** Injection token of the pool for the chunk store's own tables: what is looked up while another connection reads a device's share. */
export const STORE_POOL = Symbol('store pool');
