// HEALTHCHECK of the images: exit status 0 when the service in this container says that it can do its work.
// Docker keeps what is printed here: `docker inspect` shows the reasons.
import { get as getByHttp } from 'node:http';
import { get as getByHttps } from 'node:https';

const TIMEOUT_MS = 8000;
const [scheme, get] = process.env['TLS_CERT'] ? ['https', getByHttps] : ['http', getByHttp];
const url = `${scheme}://127.0.0.1:${process.env['PORT']}/health`;

// The certificate is for the names that devices use, not for 127.0.0.1.
const request = get(url, { timeout: TIMEOUT_MS, rejectUnauthorized: false }, (response) => {
  process.exitCode = response.statusCode === 200 ? 0 : 1;
  response.pipe(process.stdout);
});
request.on('timeout', () => request.destroy(new Error(`${url} did not answer within ${TIMEOUT_MS} ms`)));
request.on('error', ({ message }) => {
  process.exitCode = 1;
  console.log(message);
});
