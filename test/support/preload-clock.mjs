// Loaded into a service by NODE_OPTIONS=--import: its wall clock is off by as many ms as the file CLOCK_OFFSET_FILE says at that moment,
// as if an operator set it. Timers and performance.now(), which no clock setting changes, stay as they are.
import { readFileSync } from 'node:fs';
import { ServerResponse } from 'node:http';

const file = process.env.CLOCK_OFFSET_FILE;
const RealDate = Date;
const now = () => RealDate.now() + Number(readFileSync(file, 'utf8'));

globalThis.Date = class Date extends RealDate {
  constructor(...given) {
    if (given.length === 0) super(now());
    else super(...given);
  }

  static now() {
    return now();
  }
};

// Node's HTTP server took the real Date before this module came.
const { writeHead } = ServerResponse.prototype;
ServerResponse.prototype.writeHead = function (...given) {
  this.setHeader('date', new Date().toUTCString());
  return writeHead.apply(this, given);
};
