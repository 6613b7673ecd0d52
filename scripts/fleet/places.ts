import type { Faker } from '@faker-js/faker';
import type { CopyValue } from './copy-text.js';
import type { FleetSize } from './fleet-size.js';
import { Random } from './random.js';
import { seededFaker } from './seeded-faker.js';
import { date, DAY_MS, timestamp, TODAY_MS } from './time.js';

/** Groups that work at all locations of their company. Each location also has a group of its own: its staff. */
const COMPANY_WIDE_GROUPS = ['Leadership', 'Facilities', 'Security', 'IT Support'] as const;

interface Location {
  id: number;
  companyId: number;
  name: string;
  /** Those who work here are its members. */
  staffGroupId: number;
}

interface Company {
  id: number;
  domain: string;
  companyWideGroupIds: number[];
}

/** The few tables that the others refer to; kept in memory. */
export interface Places {
  companies: Company[];
  locations: Location[];
  rows: Record<'companies' | 'locations' | 'groups' | 'location_groups', CopyValue[][]>;
}

/** Makes companies, locations and groups. The first company is TechCorp Industries, the first location its San Francisco Office. */
export function makePlaces(size: FleetSize): Places {
  const faker = seededFaker(size.seed);
  const random = new Random(size.seed, 'places');
  const places: Places = { companies: [], locations: [], rows: { companies: [], locations: [], groups: [], location_groups: [] } };
  for (let id = 1; id <= size.companies; id += 1) addCompany(places, id, faker, random);
  for (let id = 1; id <= size.locations; id += 1) addLocation(places, id, faker, random);
  for (const company of places.companies) addCompanyWideGroups(places, company);
  return places;
}

function addCompany(places: Places, id: number, faker: Faker, random: Random): void {
  const name = id === 1 ? 'TechCorp Industries' : faker.company.name();
  const domain = id === 1 ? 'techcorp.example' : `${name.split(/[^A-Za-z]/)[0]?.toLowerCase()}${id}.example`;
  places.companies.push({ id, domain, companyWideGroupIds: [] });
  places.rows.companies.push([id, name, domain, timestamp(TODAY_MS - random.below(3000) * DAY_MS, random.below(1000))]);
}

function addLocation(places: Places, id: number, faker: Faker, random: Random): void {
  const companyId = ((id - 1) % places.companies.length) + 1;
  const city = faker.location.city();
  const generated = [`${city} Office`, faker.location.streetAddress(), city, faker.location.countryCode(), faker.location.timeZone()];
  const [name, ...address] = id === 1 ? sanFrancisco : generated;
  const position = [faker.location.latitude({ precision: 6 }), faker.location.longitude({ precision: 6 })];
  const opened = random.chance(0.9) ? date(TODAY_MS - random.below(5000) * DAY_MS) : null;
  places.rows.locations.push([id, companyId, name as string, ...address, ...(id === 1 ? [37.7896, -122.4015] : position), opened]);

  const staffGroupId = addGroup(places, companyId, `${name} Staff`, `Everybody who works at the ${name}`);
  places.rows.location_groups.push([id, staffGroupId]);
  places.locations.push({ id, companyId, name: name as string, staffGroupId });
}

const sanFrancisco = ['San Francisco Office', '548 Market Street', 'San Francisco', 'US', 'America/Los_Angeles'];

function addCompanyWideGroups(places: Places, company: Company): void {
  const locations = places.locations.filter(({ companyId }) => companyId === company.id);
  for (const name of COMPANY_WIDE_GROUPS) {
    const groupId = addGroup(places, company.id, name, null);
    company.companyWideGroupIds.push(groupId);
    for (const location of locations) places.rows.location_groups.push([location.id, groupId]);
  }
}

function addGroup(places: Places, companyId: number, name: string, description: string | null): number {
  const id = places.rows.groups.length + 1;
  places.rows.groups.push([id, companyId, name, description]);
  return id;
}
