import { readFile } from 'node:fs/promises';
import { type Plan, planSchema, WaypostError } from '@waypost/contracts';
import { type Document, isScalar, LineCounter, parseDocument, Scalar } from 'yaml';

/** A place in the plan, as zod and YAML name it: `['tables', 2, 'where']`. */
export type PlanPath = readonly (string | number)[];

/** A plan of the right form, not yet checked against a database, that knows its own lines. */
export interface PlanFile {
  path: string;
  plan: Plan;
  /** `file:line` of a place; `lineInValue` counts from 0 inside of a text of several lines. */
  locate(place: PlanPath, lineInValue?: number): string;
}

/** @throws WaypostError PLAN_INVALID with file and line of each fault */
export async function readPlan(path: string): Promise<PlanFile> {
  const source = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new WaypostError('PLAN_INVALID', {
      detail: `The plan ${path} cannot be read: ${(cause as Error).message}`,
      hint: 'Set SYNC_PLAN to the path of a plan file; plans/ has examples.',
      cause,
    });
  });
  return parsePlan(path, source);
}

/** As readPlan, from text. */
export function parsePlan(path: string, source: string): PlanFile {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines });
  const at = (line: number): string => `${path}:${line}`;
  if (document.errors.length > 0) {
    throw planInvalid(document.errors.map((error) => `${at(error.linePos?.[0].line ?? 1)}: ${error.message.split('\n')[0]}`));
  }

  const locate = (place: PlanPath, lineInValue = 0): string => {
    for (let depth = place.length; depth >= 0; depth -= 1) {
      const node = depth === 0 ? document.contents : document.getIn(place.slice(0, depth), true);
      const range = (node as { range?: readonly number[] } | null | undefined)?.range;
      if (!range) continue;
      const isBlock = isScalar(node) && (node.type === Scalar.BLOCK_LITERAL || node.type === Scalar.BLOCK_FOLDED);
      const inside = depth === place.length ? lineInValue + (isBlock ? 1 : 0) : 0;
      return at(lines.linePos(range[0] as number).line + inside);
    }
    return at(1);
  };

  const parsed = planSchema.safeParse(toValue(document, at));
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => {
      const place = issue.path as PlanPath;
      const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
      return `${locate(unknown === undefined ? place : [...place, unknown])}: ${place.join('.') || 'plan'}: ${issue.message}`;
    });
    throw planInvalid(faults);
  }
  return { path, plan: parsed.data, locate };
}

function toValue(document: Document.Parsed, at: (line: number) => string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    // Aliases that refer to each other, so that the plan would grow without bound.
    throw planInvalid([`${at(1)}: ${(error as Error).message}`]);
  }
}

export function planInvalid(faults: readonly string[]): WaypostError {
  return new WaypostError('PLAN_INVALID', { detail: faults.join('\n') });
}
