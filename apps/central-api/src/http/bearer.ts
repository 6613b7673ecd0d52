/** RFC 6750; the scheme is of any case. What a JWT and METRICS_TOKEN are made of. */
export const BEARER = /^bearer +([\w.~+/=-]+)$/i;
