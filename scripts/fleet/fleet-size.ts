/** How large the example is. The same size and seed give byte-identical tables. */
export interface FleetSize {
  seed: number;
  /** At least 1: TechCorp Industries. */
  companies: number;
  /** At least 1: the San Francisco Office. Dealt out to the companies in turn, so the first of them is TechCorp's. */
  locations: number;
  /** Each belongs to one location. With 1 company and 1 location the Jetson sees all of them. */
  users: number;
  /** At least 2: the Jetson and its switched-off predecessor. */
  devices: number;
  areas: number;
}

/** A second or two to fill. */
export const DEFAULT_FLEET_SIZE: FleetSize = { seed: 1, companies: 10, locations: 40, users: 20_000, devices: 200, areas: 400 };

const MINIMUM: FleetSize = { seed: 0, companies: 1, locations: 1, users: 0, devices: 2, areas: 0 };
/** What `integer` keys hold. */
const MAXIMUM = 2 ** 31 - 1;

/** @throws RangeError naming the size that cannot be */
export function checkFleetSize(size: FleetSize): void {
  for (const name of Object.keys(MINIMUM) as (keyof FleetSize)[]) {
    const value = size[name];
    if (!Number.isSafeInteger(value) || value < MINIMUM[name] || value > MAXIMUM) {
      throw new RangeError(`${name} must be a whole number from ${MINIMUM[name]} to ${MAXIMUM}`);
    }
  }
}
