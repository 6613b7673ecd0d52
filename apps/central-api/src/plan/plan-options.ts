export interface PlanOptions {
  /** Path of the plan's YAML file. */
  file: string;
}

/** Injection token of PlanOptions. */
export const PLAN_OPTIONS = Symbol('plan options');
