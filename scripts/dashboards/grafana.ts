/** The part of Grafana's dashboard schema (39, which Grafana 11 and 12 read) that Waypost's dashboards are made of. */
export interface Dashboard {
  uid: string;
  title: string;
  panels: Panel[];
  [property: string]: unknown;
}

export interface Panel {
  id: number;
  title: string;
  type: string;
  description: string;
  datasource: DataSource;
  targets: Target[];
  gridPos: { x: number; y: number; w: number; h: number };
  [property: string]: unknown;
}

export type Target = { refId: string; rawSql: string; format: 'table' | 'time_series' } | { refId: string; expr: string };

interface DataSource {
  type: string;
  uid: string;
}

/** As provisioned in docker/grafana/provisioning/datasources. */
export const PROMETHEUS: DataSource = { type: 'prometheus', uid: 'prometheus' };
export const CENTRAL_DATABASE: DataSource = { type: 'grafana-postgresql-datasource', uid: 'waypost' };
/** Whichever the reader picks: most devices' databases cannot be reached from a Grafana. */
export const EDGE_DATABASE: DataSource = { type: 'grafana-postgresql-datasource', uid: '${edge_database}' };

export interface PanelSpec {
  title: string;
  /** What it shows and when to worry. */
  description: string;
  type: 'table' | 'timeseries' | 'stat' | 'bargauge' | 'barchart';
  width: number;
  height?: number;
  /** A unit of Grafana's: s, ms, bytes, percentunit, short … */
  unit?: string;
  /** One statement for Waypost's schema; a panel of time needs a column `time`. */
  sql?: string;
  database?: DataSource;
  /** PromQL by legend. */
  promql?: Record<string, string>;
  /** Red from the last on, green before the first. */
  thresholds?: [warning: number, critical: number];
  /** Red below the first, green from the second on. */
  lowIsBad?: boolean;
  bars?: boolean;
  max?: number;
  /** More of a column: its name, and fieldConfig properties. */
  columns?: Record<string, Record<string, unknown>>;
  /** Texts for values. */
  mappings?: Record<string, string>;
  /** File name in docs/runbooks, without .md. */
  runbook?: string;
}

export interface ClosedRow {
  title: string;
  panels: PanelSpec[];
}

const WIDTH = 24;

/** One dashboard; panels are laid out in rows of 24 columns, in the order given. */
export function dashboard(options: {
  name: 'fleet' | 'device' | 'central' | 'edge';
  title: string;
  description: string;
  from: string;
  variables?: Record<string, unknown>[];
  panels: PanelSpec[];
  /** Rows of panels that are closed at first. */
  closed?: ClosedRow[];
}): Dashboard {
  const { name, title, description, from, variables = [], panels, closed = [] } = options;
  const open = layOut(panels, 1, 0);
  const below = Math.max(0, ...open.map(({ gridPos }) => gridPos.y + gridPos.h));
  return {
    uid: `waypost-${name}`,
    title: `Waypost: ${title}`,
    description,
    tags: ['waypost'],
    schemaVersion: 39,
    version: 1,
    editable: false,
    graphTooltip: 1,
    refresh: '1m',
    time: { from, to: 'now' },
    timezone: 'utc',
    annotations: { list: [] },
    links: [
      {
        type: 'dashboards',
        title: 'Waypost',
        tags: ['waypost'],
        asDropdown: false,
        includeVars: false,
        keepTime: true,
        targetBlank: false,
      },
    ],
    templating: { list: variables },
    panels: [...open, ...rows(closed, open.length + 1, below)],
  };
}

/** One below the other: closed, each is a line high. */
function rows(closed: readonly ClosedRow[], firstId: number, firstY: number): Panel[] {
  let id = firstId;
  return closed.map((one, at) => {
    const made = row(one, id, firstY + at);
    id += 1 + one.panels.length;
    return made;
  });
}

function row({ title, panels }: ClosedRow, id: number, y: number): Panel {
  const inner = layOut(panels, id + 1, y + 1);
  return { id, type: 'row', title, collapsed: true, gridPos: { x: 0, y, w: WIDTH, h: 1 }, panels: inner } as unknown as Panel;
}

function layOut(specs: PanelSpec[], firstId: number, firstY: number): Panel[] {
  let [x, y, rowHeight] = [0, firstY, 0];
  return specs.map((spec, at) => {
    const { width: w, height: h = 8 } = spec;
    if (x + w > WIDTH) [x, y, rowHeight] = [0, y + rowHeight, 0];
    const made = panel(spec, firstId + at, { x, y, w, h });
    [x, rowHeight] = [x + w, Math.max(rowHeight, h)];
    return made;
  });
}

function panel(spec: PanelSpec, id: number, gridPos: Panel['gridPos']): Panel {
  const datasource = spec.sql === undefined ? PROMETHEUS : (spec.database ?? CENTRAL_DATABASE);
  return {
    id,
    type: spec.type,
    title: spec.title,
    description: spec.runbook ? `${spec.description} Runbook: docs/runbooks/${spec.runbook}.md` : spec.description,
    gridPos,
    datasource,
    targets: targets(spec, datasource),
    fieldConfig: { defaults: fieldDefaults(spec), overrides: overrides(spec.columns ?? {}) },
    options: OPTIONS[spec.type],
  };
}

function targets({ sql, promql = {}, type }: PanelSpec, datasource: DataSource): Target[] {
  if (sql !== undefined) {
    const format = type === 'timeseries' ? 'time_series' : 'table';
    return [{ refId: 'A', datasource, format, rawQuery: true, editorMode: 'code', rawSql: sql.replace(/\s+/g, ' ').trim() } as Target];
  }
  return Object.entries(promql).map(([legendFormat, expr], at) => {
    const instant = type !== 'timeseries';
    return { refId: String.fromCharCode(65 + at), datasource, editorMode: 'code', expr, legendFormat, instant, range: !instant } as Target;
  });
}

function fieldDefaults({ unit = 'short', thresholds, lowIsBad = false, bars = false, max, mappings, type }: PanelSpec) {
  const colors = lowIsBad ? ['red', 'yellow', 'green'] : ['green', 'yellow', 'red'];
  const steps = [null, ...(thresholds ?? [])].map((value, at) => ({ color: thresholds ? colors[at] : 'blue', value }));
  const shape = bars
    ? { drawStyle: 'bars', fillOpacity: 80, lineWidth: 0, stacking: { mode: 'normal', group: 'A' } }
    : { fillOpacity: 10, showPoints: 'never' };
  return {
    unit,
    min: type === 'timeseries' ? 0 : undefined,
    max,
    thresholds: { mode: 'absolute', steps },
    color: { mode: type === 'timeseries' ? 'palette-classic' : 'thresholds' },
    mappings: mappings
      ? [{ type: 'value', options: Object.fromEntries(Object.entries(mappings).map(([value, text], index) => [value, { text, index }])) }]
      : [],
    custom:
      type === 'timeseries'
        ? { ...shape, ...(thresholds ? { thresholdsStyle: { mode: 'line' } } : {}) }
        : type === 'table'
          ? { filterable: true }
          : {},
  };
}

function overrides(columns: Record<string, Record<string, unknown>>) {
  return Object.entries(columns).map(([name, properties]) => ({
    matcher: { id: 'byName', options: name },
    properties: Object.entries(properties).map(([id, value]) => ({ id, value })),
  }));
}

const REDUCE = { calcs: ['lastNotNull'], fields: '', values: false };
const OPTIONS = {
  table: { showHeader: true, cellHeight: 'sm', footer: { show: false } },
  timeseries: { legend: { displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'multi', sort: 'desc' } },
  stat: { reduceOptions: REDUCE, colorMode: 'background', graphMode: 'none', textMode: 'auto', justifyMode: 'auto', orientation: 'auto' },
  bargauge: { reduceOptions: { ...REDUCE, values: true }, orientation: 'horizontal', displayMode: 'gradient', showUnfilled: true },
  barchart: { orientation: 'horizontal', legend: { showLegend: true, displayMode: 'list', placement: 'bottom' }, xTickLabelMaxLength: 40 },
} as const;

/** Columns of a table. */
export const AGE = {
  unit: 's',
  'custom.cellOptions': { type: 'color-background', mode: 'basic' },
  thresholds: {
    mode: 'absolute',
    steps: [
      { color: 'green', value: null },
      { color: 'yellow', value: 3600 },
      { color: 'orange', value: 21_600 },
      { color: 'red', value: 86_400 },
    ],
  },
  noValue: 'never',
};
export const TO_DEVICE = {
  links: [{ title: 'This device', url: '/d/waypost-device?var-device=${__value.text}&${__url_time_range}', targetBlank: false }],
};

/** A variable that the central database, or Prometheus, has the values of. */
export function queryVariable(name: string, label: string, query: string, datasource: DataSource): Record<string, unknown> {
  const definition = datasource === PROMETHEUS ? { query, refId: name } : query;
  return {
    type: 'query',
    name,
    label,
    datasource,
    query: definition,
    definition: query,
    refresh: 2,
    sort: 1,
    multi: false,
    includeAll: false,
    options: [],
    current: {},
  };
}

export function choice(name: string, label: string, values: string[]): Record<string, unknown> {
  const options = values.map((value, at) => ({ text: value, value, selected: at === 0 }));
  return { type: 'custom', name, label, query: values.join(','), options, current: options[0], multi: false, includeAll: false };
}

/** A panel of lines over time. @param promql expressions by legend */
export function series(
  title: string,
  description: string,
  unit: string,
  promql: Record<string, string>,
  more: Partial<PanelSpec> = {},
): PanelSpec {
  return { title, description, type: 'timeseries', width: 8, unit, promql, ...more };
}
