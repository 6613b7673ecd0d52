/** 32 bytes of the server's strong random source: secrets that are made by it are in no statement. */
export const RANDOM_BYTES = 'sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))';
