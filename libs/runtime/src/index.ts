export * from './catalog.js';
export * from './collect-garbage.js';
export * from './config.js';
export * from './copy-rows.js';
export * from './http.js';
export * from './logging.js';
export * from './postgres.js';
export * from './zstd.js';
