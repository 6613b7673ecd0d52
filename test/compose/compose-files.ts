import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

export interface Service {
  image: string;
  build?: { dockerfile: string; target: string };
  restart: string;
  read_only?: boolean;
  cap_drop?: string[];
  security_opt: string[];
  logging: { driver: string; options: Record<string, string> };
  environment?: Record<string, string | null>;
  depends_on?: Record<string, { condition: string }>;
  volumes?: string[];
  networks?: string[];
  ports?: string[];
  mem_limit?: string;
  command?: string[];
  profiles?: string[];
}

export interface ComposeFile {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
  networks: Record<string, unknown>;
}

export const COMPOSE_FILES = ['docker-compose.central.yml', 'docker-compose.edge.yml'];

/** `${NAME}`, `${NAME:-default}`, `${NAME:?message}`. */
export const VARIABLE = /\$\{([A-Z_]+)(?::([-?])([^}]*))?\}/g;

/** A compose file with its anchors resolved, and its variables, unless they are given, as they stand there. */
export function composeFile(path: string, settings?: Record<string, string>): ComposeFile {
  const text = readFileSync(path, 'utf8');
  const substituted = settings ? text.replace(VARIABLE, (_, name: string) => String(settings[name])) : text;
  return parse(substituted, { merge: true }) as ComposeFile;
}

/** The variables of a file such as .env.example. */
export function readSettings(path: string): Record<string, string> {
  const lines = readFileSync(path, 'utf8').split('\n');
  const pairs = lines.map((line) => /^([A-Z_]+)=(.*)$/.exec(line)).filter((match) => match !== null);
  return Object.fromEntries(pairs.map(([, name, value]) => [String(name), String(value)]));
}
