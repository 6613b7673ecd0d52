import type { Random } from '../../scripts/fleet/random.js';
import type { Column, Shares, Table } from './tables.js';
import { insertRows } from './rows.js';

/** Where the fleet begins, with a few chunks (of some 256 rows) in a share of the large tables; mutations make it larger and smaller. */
const ROWS = { companies: 3, groups: 9, location_groups: 14, users: 3000, group_members: 4500, areas: 1200, labels: 80 };

/** Central's database as a seed makes it. */
export interface RandomFleet extends Shares {
  /** Of the devices that sync. */
  macs: readonly string[];
  /** SQL that creates and fills the tables. */
  create: string;
  /** As JSON, which is YAML. */
  plan: string;
  /** For people. */
  description: string;
}

type KeyType = 'bigint' | 'uuid' | 'text';

/** Key types, references, conditions and lists of columns differ from seed to seed. */
export function makeFleet(random: Random, devices: number): RandomFleet {
  const key = (): KeyType => random.pick(['bigint', 'uuid', 'text'] as const);
  const keys = { companies: key(), locations: key(), groups: key(), users: key(), devices: key() };
  const tables = tablesOf(keys, random);
  const isReferenced = random.chance(0.5);
  const locations = 3 + Math.ceil(devices / 6);
  const macs = Array.from({ length: devices }, (_, at) => `48:b0:2d:00:00:${at.toString(16).padStart(2, '0')}`);
  const scope = `SELECT d.id AS device_id, d.location_id, l.company_id FROM devices d JOIN locations l ON l.id = d.location_id WHERE d.mac = :mac`;
  return {
    tables,
    scope,
    macs,
    create: [...tables.map((table) => createTable(table, isReferenced)), ...fill(tables, locations, macs)].join(';\n'),
    plan: planOf(tables, scope),
    description: describe(tables, isReferenced),
  };
}

function tablesOf(keys: Record<'companies' | 'locations' | 'groups' | 'users' | 'devices', KeyType>, random: Random): Table[] {
  const id = (table: keyof typeof keys): Column => ({ name: 'id', type: keys[table] });
  const idOf = (name: string, table: keyof typeof keys): Column => ({ name, type: keys[table], of: table });
  const company = idOf('company_id', 'companies');
  const location = idOf('location_id', 'locations');
  const group = idOf('group_id', 'groups');
  const name: Column = { name: 'name', type: 'text' };
  const atLocation = (column: string): string => `${column} IN (SELECT id FROM locations WHERE company_id = :company_id)`;
  const inGroupHere = (column: string): string =>
    `EXISTS (SELECT FROM location_groups lg WHERE lg.group_id = ${column} AND lg.location_id = :location_id)`;

  return [
    { name: 'companies', columns: [id('companies'), name, { name: 'rate', type: 'numeric' }], key: ['id'], where: 'id = :company_id' },
    {
      name: 'locations',
      columns: [id('locations'), company, name, { name: 'opened', type: 'timestamptz' }],
      key: ['id'],
      where: random.pick(['id = :location_id', 'company_id = :company_id']),
    },
    {
      name: 'groups',
      columns: [id('groups'), company, name, { name: 'tags', type: 'text[]' }],
      key: ['id'],
      where: random.pick([inGroupHere('groups.id'), 'company_id = :company_id']),
      ...(random.chance(0.5) && { listed: ['id', 'tags'] }),
    },
    {
      name: 'location_groups',
      columns: [location, group],
      key: ['location_id', 'group_id'],
      where: random.pick(['location_id = :location_id', atLocation('location_groups.location_id')]),
    },
    {
      name: 'users',
      columns: [
        id('users'),
        company,
        name,
        { name: 'score', type: 'numeric' },
        { name: 'active', type: 'boolean' },
        { name: 'profile', type: 'jsonb' },
        { name: 'photo', type: 'bytea' },
        { name: 'secret', type: 'text' },
      ],
      key: ['id'],
      listed: ['id', 'name', 'score', 'active', 'profile', 'photo'],
      where: random.pick([
        'EXISTS (SELECT FROM group_members gm JOIN location_groups lg USING (group_id) WHERE gm.user_id = users.id AND lg.location_id = :location_id)',
        'id IN (SELECT user_id FROM group_members WHERE group_id IN (SELECT group_id FROM location_groups WHERE location_id = :location_id))',
        'company_id = :company_id AND active',
      ]),
    },
    {
      name: 'group_members',
      columns: [group, idOf('user_id', 'users'), { name: 'since', type: 'timestamptz' }],
      key: ['group_id', 'user_id'],
      where: random.pick([inGroupHere('group_members.group_id'), 'user_id IN (SELECT id FROM users WHERE company_id = :company_id)']),
    },
    {
      name: 'areas',
      columns: [{ name: 'code', type: 'text' }, { name: 'floor', type: 'int' }, location, { name: 'size', type: 'float8' }, name],
      key: ['code', 'floor'],
      where: random.pick(['location_id = :location_id', atLocation('areas.location_id')]),
      ...(random.chance(0.5) && { listed: ['code', 'floor', 'size'] }),
    },
    {
      name: 'devices',
      columns: [id('devices'), { name: 'mac', type: 'macaddr' }, location, name, { name: 'active', type: 'boolean' }],
      key: ['id'],
      where: random.pick(['location_id = :location_id', `active AND ${atLocation('devices.location_id')}`]),
    },
    {
      name: 'labels',
      columns: [{ name: 'code', type: 'text' }, name],
      key: ['code'],
      ...(random.chance(0.3) && { where: 'length(name) % 2 = 0' }),
    },
  ];
}

/** What a device's scope needs is always referenced: no device is left without a location. */
function createTable({ name, columns, key }: Table, isReferenced: boolean): string {
  const isScope = name === 'locations' || name === 'devices';
  const references = ({ of }: Column): string => {
    if (!of || !(isScope || isReferenced)) return '';
    return ` REFERENCES ${of} ON UPDATE CASCADE${isScope ? '' : ' ON DELETE CASCADE'}`;
  };
  const lines = columns.map((column) => `${column.name} ${column.type}${column.of ? ' NOT NULL' : ''}${references(column)}`);
  const indexes = columns.filter(({ of }) => of).map((column) => `; CREATE INDEX ON ${name} (${column.name})`);
  return `CREATE TABLE ${name} (${lines.join(', ')}, PRIMARY KEY (${key.join(', ')}))${indexes.join('')}`;
}

function fill(tables: readonly Table[], locations: number, macs: readonly string[]): string[] {
  const rows: Record<string, number> = { ...ROWS, locations, devices: macs.length + 3 };
  const nth = macs.map((mac, at) => `(${at + 1}, '${mac}'::macaddr)`);
  return [
    ...tables.map((table) => insertRows(table, { first: 1, count: rows[table.name] ?? 0 })),
    `UPDATE devices SET mac = synced.mac FROM (VALUES ${nth.join(', ')}) AS synced (nth, mac),
       (SELECT id, row_number() OVER (ORDER BY id) AS nth FROM devices) AS device
     WHERE devices.id = device.id AND device.nth = synced.nth`,
  ];
}

function planOf(tables: readonly Table[], scope: string): string {
  const entries = tables.map(({ name, where, listed }) => ({ name, ...(where && { where }), ...(listed && { columns: listed }) }));
  return JSON.stringify({ version: 1, schemaVersion: 1, changes: 'triggers', scope: { query: scope }, tables: entries });
}

function describe(tables: readonly Table[], isReferenced: boolean): string {
  const lines = tables.map(({ name, columns, key, where = 'all rows', listed }) => {
    const types = columns.filter((column) => key.includes(column.name)).map(({ type }) => type);
    return `  ${name} (${types.join(', ')})${listed ? ', some columns' : ''}: ${where}`;
  });
  return [`tables ${isReferenced ? 'with' : 'without'} foreign keys`, ...lines].join('\n');
}
