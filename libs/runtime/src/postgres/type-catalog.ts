import type { RowFormat, UserType } from '@waypost/contracts';
import type pg from 'pg';
import { queryPrepared } from './query.js';
import { DESCRIBE_TYPES } from './type-catalog.sql.js';

/**
 * How a key column is ordered so that every database orders it alike: by its type, strings and arrays of strings by their bytes, or, where
 * the type's own order depends on the database's collation or object ids, by the bytes of its text. Where the database's encoding orders characters in
 * another way than UTF-8 does, strings are converted first.
 */
export type KeyOrder = 'type' | 'bytes' | 'text' | 'bytesAsUtf8' | 'elementsAsUtf8' | 'textAsUtf8';

/** int8 comes as text. */
interface TypeRow {
  oid: string;
  name: string;
  /** pg_type.typtype. */
  kind: string;
  elementOid: string;
  baseOid: string;
  base: string | null;
  hasSend: boolean;
  labels: string[] | null;
  /** Of a composite; `ofTable` where it is a table's row. */
  attributes: { name: string; type: string; typeOid: number }[];
  ofTable: boolean;
  /** Of a range, or of a multirange's range. */
  range: { oid: number; subtypeOid: number; subtype: string; multirange: string; isPlain: boolean; definition: string } | null;
  extension: string | null;
  /** Bytes in the database's encoding are in the order of code points, as they are in UTF-8. */
  isOrderedAsUtf8: boolean;
}

interface CatalogType extends Omit<TypeRow, 'oid' | 'elementOid' | 'baseOid'> {
  oid: number;
  elementOid: number;
  baseOid: number;
}

/** Object ids below this belong to PostgreSQL itself and are the same on every server. */
const FIRST_USER_OID = 16384;
/** pg_type.typname of types whose binary form is an object id of this very server. */
const OID_TYPES = /^reg(class|proc|procedure|oper|operator|type|role|namespace|config|dictionary|collation)$/;
/** PostgreSQL sends empty values of these types in a binary form that it does not take back (15 to 18): "malformed tsquery", "invalid int2vector data". */
const TEXT_TYPES = /^(tsquery|int2vector|oidvector)$/;
/** PostgreSQL prints values of these types but takes none. */
const READ_ONLY_TYPES = /^(pg_node_tree|pg_ndistinct|pg_dependencies|pg_mcv_list|pg_brin_\w+_summary|gtsvector)$/;

/** Types with all that they are made of. */
export class TypeCatalog {
  private constructor(private readonly types: ReadonlyMap<number, CatalogType>) {}

  /** Call it in a transaction with search_path at pg_catalog, so that every other type is printed with its schema. */
  static async read(client: pg.ClientBase, typeOids: Iterable<number>): Promise<TypeCatalog> {
    const rows = await queryPrepared<TypeRow>(client, 'types', DESCRIBE_TYPES, [[...new Set(typeOids)]]);
    const types = rows.map((row) => ({
      ...row,
      oid: Number(row.oid),
      elementOid: Number(row.elementOid),
      baseOid: Number(row.baseOid),
    }));
    return new TypeCatalog(new Map(types.map((type) => [type.oid, type])));
  }

  /** Binary, unless a type's binary form would carry object ids that differ from server to server, or cannot be loaded. */
  formatFor(typeOids: readonly number[]): RowFormat {
    return typeOids.some((oid) => this.needsText(oid)) ? 'text' : 'binary';
  }

  /** The user-defined types that these types are or are made of: what another database needs, in the order of its making. */
  userTypes(typeOids: readonly number[]): UserType[] {
    const found = new Map<number, UserType>();
    const visit = (oid: number): void => {
      const type = this.types.get(oid);
      if (!type || found.has(oid)) return;
      if (type.extension === null) for (const part of partsOf(type)) visit(part);
      const isArray = type.elementOid !== 0 && type.kind !== 'd';
      if (oid >= FIRST_USER_OID && !isArray && type.kind !== 'm') found.set(oid, define(type));
    };
    for (const oid of typeOids) visit(oid);
    return [...found.values()];
  }

  /** As userTypes, of one type alone. */
  definitionOf(oid: number): UserType | undefined {
    const type = this.types.get(oid);
    return type && define(type);
  }

  keyOrder(typeOid: number, collatable: boolean): KeyOrder {
    const isOrderedAsUtf8 = this.types.get(typeOid)?.isOrderedAsUtf8 ?? true;
    if (!this.ordersAlikeEverywhere(typeOid)) return isOrderedAsUtf8 ? 'text' : 'textAsUtf8';
    if (!collatable) return 'type';
    if (isOrderedAsUtf8) return 'bytes';
    return this.isArray(typeOid) ? 'elementsAsUtf8' : 'bytesAsUtf8';
  }

  /** Why no other database could take values of this type. */
  obstacle(typeOid: number): string | undefined {
    for (const type of this.withParts(typeOid)) {
      if (type.oid < FIRST_USER_OID && READ_ONLY_TYPES.test(type.name)) return `PostgreSQL takes no values of type ${type.name}`;
      if (type.ofTable) return `${type.name} is the row type of a table: name a type made by CREATE TYPE instead`;
    }
    return undefined;
  }

  private *withParts(oid: number): Generator<CatalogType> {
    const type = this.types.get(oid);
    if (!type) return;
    yield type;
    for (const part of partsOf(type)) yield* this.withParts(part);
  }

  private needsText(oid: number): boolean {
    for (const type of this.withParts(oid)) {
      const ofUser = type.oid >= FIRST_USER_OID;
      if (!type.hasSend || OID_TYPES.test(type.name) || TEXT_TYPES.test(type.name)) return true;
      if (type.kind === 'c' || (ofUser && type.range !== null)) return true;
      if (type.elementOid >= FIRST_USER_OID) return true;
    }
    return false;
  }

  private isArray(oid: number): boolean {
    const type = this.types.get(oid);
    return type !== undefined && (type.baseOid ? this.isArray(type.baseOid) : type.elementOid !== 0);
  }

  /**
   * Strings inside of jsonb, composites and ranges are compared by the database's collation, `reg…` types by object ids; extensions do as
   * they like.
   */
  private ordersAlikeEverywhere(oid: number): boolean {
    const type = this.types.get(oid);
    if (!type) return false;
    if (type.baseOid) return this.ordersAlikeEverywhere(type.baseOid);
    if (type.elementOid) return this.ordersAlikeEverywhere(type.elementOid);
    return type.oid < FIRST_USER_OID ? type.name !== 'jsonb' && !OID_TYPES.test(type.name) : type.kind === 'e';
  }
}

function partsOf({ elementOid, baseOid, attributes, range, oid }: CatalogType): number[] {
  const ofRange = range ? (range.oid === oid ? [range.subtypeOid] : [range.oid]) : [];
  return [elementOid, baseOid, ...attributes.map(({ typeOid }) => typeOid), ...ofRange].filter((part) => part !== 0);
}

function define({ name, kind, labels, base, attributes, ofTable, range, extension }: CatalogType): UserType {
  if (extension !== null) return { name, kind: 'external', statement: `CREATE EXTENSION ${extension}` };
  if (kind === 'e') return { name, kind: 'enum', labels: labels ?? [] };
  if (kind === 'd') return { name, kind: 'domain', base: base as string };
  if (kind === 'c' && !ofTable) return { name, kind: 'composite', attributes: attributes.map(({ name, type }) => ({ name, type })) };
  if (range?.isPlain) return { name, kind: 'range', subtype: range.subtype, multirange: range.multirange };
  if (range) return { name, kind: 'external', statement: range.definition };
  return { name, kind: 'external', statement: `CREATE ${ofTable ? 'TABLE' : 'TYPE'} ${name} …` };
}
