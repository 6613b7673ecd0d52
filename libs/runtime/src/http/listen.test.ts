import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { listen } from './listen.js';

@Module({})
class Empty {}

test.each([
  ['0.0.0.0', /^http:\/\/0\.0\.0\.0:\d+$/],
  ['127.0.0.1', /^http:\/\/127\.0\.0\.1:\d+$/],
])('listening on %s says so', async (host, url) => {
  const app = await NestFactory.create(Empty, new FastifyAdapter(), { logger: false });
  expect(await listen(app, 0, host)).toMatch(url);
  await app.close();
});
