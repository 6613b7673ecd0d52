import { base, en, Faker } from '@faker-js/faker';

/** English names with the data that all languages share; the same seed gives the same sequence for one version of faker. */
export function seededFaker(seed: number): Faker {
  return new Faker({ locale: [en, base], seed });
}
