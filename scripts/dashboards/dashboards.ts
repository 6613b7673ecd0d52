import { central } from './central.js';
import { device } from './device.js';
import { edge } from './edge.js';
import { fleet } from './fleet.js';
import type { Dashboard, Panel } from './grafana.js';

/** By file name in docker/grafana/dashboards. */
export const DASHBOARDS: Record<string, Dashboard> = { fleet, device, central, edge };

/** The file's text. */
export function toJson(dashboard: Dashboard): string {
  return `${JSON.stringify(dashboard, undefined, 2)}\n`;
}

/** Also those in closed rows. */
export function allPanels(dashboard: Dashboard): Panel[] {
  return dashboard.panels.flatMap((panel) => (panel.type === 'row' ? (panel['panels'] as Panel[]) : [panel]));
}

interface Substitutes {
  from: string;
  to: string;
  device: string;
  hours?: number;
}

/** A panel's SQL with Grafana's macros and variables replaced, as Grafana's PostgreSQL data source does it. */
export function expandSql(rawSql: string, { from, to, device, hours = 24 }: Substitutes): string {
  return rawSql
    .replace(/\$__timeFilter\(([^)]*)\)/g, (_, column: string) => `${column} BETWEEN '${from}' AND '${to}'`)
    .replaceAll('$__timeFrom()', `'${from}'`)
    .replaceAll('$__timeTo()', `'${to}'`)
    .replaceAll('${device:sqlstring}', `'${device}'`)
    .replaceAll('$hours', String(hours));
}
