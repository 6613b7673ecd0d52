/** What a service exports, as Prometheus reads it: values by name and labels, without the label `service`, such as `a_total{code="X"}`. */
export async function scrape(url: string): Promise<Map<string, number>> {
  const response = await fetch(`${url}/metrics`);
  if (response.status !== 200) throw new Error(`/metrics answered ${response.status}`);
  return new Map(
    (await response.text())
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const [, name, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
        const own = labels.split(/,(?=\w+=")/).filter((label) => label !== '' && !label.startsWith('service='));
        return [name + (own.length > 0 ? `{${own.join(',')}}` : ''), value === 'Nan' || value === 'NaN' ? NaN : Number(value)];
      }),
  );
}

/** One value of `scrape`; NaN where there is none of that name with those labels. */
export async function readSample(url: string, name: string): Promise<number> {
  return (await scrape(url)).get(name) ?? NaN;
}
