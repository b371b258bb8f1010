// The demo's dashboard: metrics of every second, by push or polling, and the cost of each.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { startDemo, startNetwork } from '../../support/demo.mjs';
import { accessible, anotherTab, connected, disconnected, fits, logIn, painted, request, shot, token } from './demo.mjs';
import { Browser, CUT, waitFor } from '../support.mjs';

const LIMIT = { timeout: 300_000 };
const EVENT = 'MetricsUpdated';
let demo;
let browser;

before(async () => {
	[demo, browser] = await Promise.all([startDemo({ METRICS_SECONDS: '1' }), Browser.launch()]);
}, { timeout: 300_000 });

after(async () => {
	await browser?.close();
	await demo?.dispose();
});

afterEach(() => browser.endTest());

async function open(login, site = demo.url, options = {}) {
	const page = await logIn(browser, site, login, options);
	await page.goto(`${site}/dashboard`);
	await page.locator('.metric').first().waitFor();
	await connected(page);
	// With a measurement per second, longer ranges show averages.
	await page.getByRole('radio', { name: '5 min' }).or(page.getByRole('button', { name: '5 min' })).first().click();
	return page;
}

const value = (page, metric) => page.locator(`[data-metric=${metric}] .value`).innerText();
const note = (page) => page.locator('.note').innerText();
const cell = (page, row, mode) => page.locator(`[data-row=${row}] [data-mode=${mode}] span`).first().innerText();
const count = async (page, row, mode) => Number((await cell(page, row, mode)).replaceAll(/[^\d]/g, ''));
/** The rows of a metric's table: time and value. */
const rows = (page, metric) => page.locator(`[data-metric=${metric}] tbody tr`)
	.evaluateAll((all) => all.map((row) => [...row.cells].map((one) => one.textContent)));

const change = async (page) => {
	const before = await note(page);
	await waitFor('a new measurement', async () => await note(page) !== before);
};

test('a measurement updates the same chart at once', LIMIT, async () => {
	const page = await open('ana');
	await page.locator('.metric canvas').first().waitFor();
	const canvas = await page.locator('.metric canvas').first().elementHandle();
	// The chart itself, not only the text below it.
	const drawn = () => canvas.evaluate((one) => one.toDataURL());
	for (let n = 0; n < 3; n += 1) {
		const before = await drawn();
		await change(page);
		await waitFor('another picture', async () => await drawn() !== before);
	}
	assert.ok(await canvas.evaluate((one) => one.isConnected), 'the chart is the same');
	assert.match(await value(page, 'memory'), /^\d+(,\d)?$/);
	assert.ok(Number((await value(page, 'connections')).replace(',', '.')) >= 1, 'this page is connected');
	// Each of the backend's measurements is shown once.
	await page.getByRole('button', { name: 'Pausar atualizações' }).click();
	const stored = (await request(page, 'GET', '/api/metrics')).body.samples;
	const shown = (await rows(page, 'memory')).map(([at]) => at);
	// In the page, which has a time zone of its own.
	const times = await page.evaluate((all) => {
		const format = new Intl.DateTimeFormat('pt-BR', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
		return all.map((at) => format.format(at));
	}, stored.map(({ at }) => at));
	const expected = times.reverse();
	const start = expected.indexOf(shown[0]);
	assert.ok(start >= 0);
	assert.deepEqual(shown, expected.slice(start, start + shown.length).slice(0, 20));
	const frozen = await rows(page, 'memory');
	await waitFor('later measurements', async () => (await request(page, 'GET', '/api/metrics')).body.samples.length > stored.length + 1);
	assert.deepEqual(await rows(page, 'memory'), frozen, 'nothing changes during the pause');
	await page.getByRole('button', { name: 'Retomar atualizações' }).click();
	await waitFor('the measurements made during the pause', async () => (await rows(page, 'memory'))[0][0] !== frozen[0][0]);
});

test('a user is notified once, on any page, when a limit is exceeded', LIMIT, async () => {
	const ana = await open('ana');
	const second = await anotherTab(ana, '/chat');
	const bruno = await open('bruno');
	const card = ana.locator('[data-metric=memory]');
	await card.getByLabel('Avisar acima de').fill('1');
	await card.getByRole('button', { name: 'Salvar limite' }).click();
	const toasts = second.locator('li').filter({ hasText: 'Memória acima do limite' });
	await toasts.first().waitFor();
	await card.getByText('Acima do limite', { exact: true }).waitFor();
	await shot(ana, 'dashboard-alert');
	await accessible(ana, 'the alert');
	for (let n = 0; n < 3; n += 1) await change(ana);
	const notified = async (page) => (await request(page, 'GET', '/api/notifications')).body
		.filter(({ type }) => type === 'App\\Notifications\\LimitCrossed');
	assert.equal((await notified(ana)).length, 1, 'once');
	assert.equal((await notified(bruno)).length, 0, 'the limit is hers');
	await ana.reload();
	await card.waitFor();
	assert.equal(await card.getByLabel('Avisar acima de').inputValue(), '1', 'it is stored');
	await card.getByRole('button', { name: 'Remover limite' }).click();
	await waitFor('no badge', async () => await card.getByText('Acima do limite', { exact: true }).count() === 0);
	await ana.goto(`${demo.url}/notifications`);
	await ana.locator('.notification').getByText('Memória acima do limite').waitFor();
});

test('push and polling run side by side, and their cost is measured correctly', LIMIT, async () => {
	const page = await logIn(browser, demo.url, 'ana');
	const frames = [];
	const asked = { push: [], polling: [] };
	page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
		if (String(payload).includes('private-dashboard')) frames.push(String(payload));
	}));
	page.on('requestfinished', async (one) => {
		const [, by] = /\/api\/metrics\?after=.*&by=(\w+)/.exec(one.url()) ?? [];
		if (!by) return;
		const { samples } = await (await one.response()).json();
		asked[by].push({ ...await one.sizes(), samples });
	});
	await page.goto(`${demo.url}/dashboard`);
	await page.locator('.metric').first().waitFor();
	await page.locator('select[name=period]').selectOption('2');
	for (const mode of ['push', 'polling']) {
		await waitFor(`five by ${mode}`, async () => await count(page, 'updates', mode) >= 5 && await cell(page, 'delay', mode) !== '—', 60_000);
	}
	// Nothing arrives while the figures are read.
	await page.getByRole('button', { name: 'Pausar atualizações' }).click();
	await page.waitForLoadState('networkidle');
	assert.match(await cell(page, 'latest', 'push'), /^\d\d:\d\d:\d\d$/);
	// Each response counts with its size on the wire and 300 bytes for its header, as in the browser.
	const bytesOf = (text) => Number(text.replaceAll('.', '').replace(',', '.').split(/\s/)[0]) * (text.endsWith('KiB') ? 1024 : 1);
	const weightOf = (responses) => responses.map(({ responseBodySize }) => responseBodySize + 300);
	const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);

	const weight = sum(frames.map((frame) => Buffer.byteLength(frame) + (Buffer.byteLength(frame) < 126 ? 2 : 4)));
	const events = frames.filter((frame) => frame.includes(EVENT)).length;
	const updates = await count(page, 'updates', 'push');
	// What was measured before the page had subscribed came with the request. The page and this test see a
	// frame at different times.
	const most = events + sum(asked.push.map(({ samples }) => samples.length));
	assert.ok(updates >= events - 1 && updates <= most + 1, `${updates} updates in ${events} events, ${most} with requests`);
	const requests = await count(page, 'requests', 'push');
	assert.equal(requests, 1 + asked.push.length, 'the authorization, and the request for earlier measurements');
	// The frames, and two responses of 300 to 900 bytes.
	const pushed = bytesOf(await cell(page, 'bytes', 'push'));
	assert.ok(pushed > weight - 400 && pushed < weight + 3000, `${pushed} of ${weight} in frames`);

	const polls = await count(page, 'requests', 'polling');
	assert.ok(Math.abs(asked.polling.length - polls) <= 1, `${polls} of ${asked.polling.length}`);
	const weights = weightOf(asked.polling);
	// The counts may differ by one response, and KiB are shown with one decimal.
	const exact = Math.max(...weights) + 110;
	const polled = bytesOf(await cell(page, 'bytes', 'polling'));
	assert.ok(Math.abs(polled - sum(weights)) <= exact, `${polled} of ${sum(weights)} bytes of ${weights.length} answers`);
	// How often it asked for nothing, of all requests.
	assert.match(await cell(page, 'empty', 'polling'), new RegExp(`^\\d+ de ${polls}$`));
	const milliseconds = (text) => Number(text.replaceAll('.', '').replace(',', '.').split(' ')[0]) * (text.endsWith(' s') ? 1000 : 1);
	const delays = { push: await cell(page, 'delay', 'push'), polling: await cell(page, 'delay', 'polling') };
	assert.ok(milliseconds(delays.polling) > milliseconds(delays.push), JSON.stringify(delays));
	assert.match(await page.locator('.clock').innerText(), /Relógio do servidor: -?[\d.,]+ ms .*± [\d.,]+ ms/);
	await page.locator('.comparison').scrollIntoViewIfNeeded();
	await accessible(page, 'the comparison');
	await shot(page, 'dashboard-comparison');
	// "Zerar" begins again for both.
	await page.getByRole('button', { name: 'Zerar' }).click();
	for (const mode of ['push', 'polling']) assert.equal(await count(page, 'updates', mode), 0);
});

test('the chart shows value and time under the pointer, and its range can be chosen', LIMIT, async () => {
	const page = await open('ana');
	await change(page);
	await page.getByRole('button', { name: 'Pausar atualizações' }).click();
	const canvas = page.locator('[data-metric=memory] .u-over');
	const hovered = page.locator('[data-metric=memory] .hovered');
	const { width, height } = await canvas.boundingBox();
	await canvas.hover({ position: { x: width - 2, y: height / 2 } });
	await hovered.waitFor();
	// On a narrow chart, the newest measurements have the same place.
	const newest = (await rows(page, 'memory')).slice(0, 5).map(([time, value]) => `${time}: ${value}`);
	const text = await hovered.innerText();
	assert.ok(newest.includes(text), `${text} is not one of ${newest.join(', ')}`);
	await page.mouse.move(0, 0);
	await hovered.waitFor({ state: 'detached' });
	for (const [name, seconds] of [['24 h', 86_400], ['5 min', 300]]) {
		const asked = page.waitForResponse(`**/api/metrics?range=${seconds}`);
		await page.getByRole('radio', { name }).or(page.getByRole('button', { name })).first().click();
		const { samples } = await (await asked).json();
		assert.ok(samples.every(({ at }) => Date.now() - at < (seconds + 60) * 1000));
	}
});

test('after a network failure the charts contain the missed measurements', LIMIT, async () => {
	const network = await startNetwork(demo.port);
	const page = await open('ana', network.url);
	await change(page);
	browser.expect(CUT);
	network.cut();
	await disconnected(page);
	await waitFor('the note', async () => (await note(page)).startsWith('Sem conexão'));
	await shot(page, 'dashboard-offline');
	const witness = await open('bruno');
	for (let n = 0; n < 2; n += 1) await change(witness);
	network.mend();
	await connected(page);
	// The number of measurements, and the latest. One of the pages may be ahead for a moment.
	const label = (one) => one.locator('[data-metric=memory] [role=img]').getAttribute('aria-label');
	await waitFor('the same in both', async () => {
		const [hers, his] = await Promise.all([label(page), label(witness)]);
		return hers === his;
	});
	network.stop();
});

test('the page shows that it is loading, and that loading has failed', LIMIT, async () => {
	browser.expect(/500/);
	const page = await logIn(browser, demo.url, 'ana');
	let answer;
	const held = new Promise((resolve) => { answer = resolve; });
	await page.route('**/api/metrics?range=*', async (route) => {
		await held;
		await route.fulfill({ status: 500, json: { code: 'broken' } });
	});
	await page.goto(`${demo.url}/dashboard`);
	await page.locator('.animate-pulse').first().waitFor();
	await shot(page, 'dashboard-loading');
	answer();
	await page.getByRole('alert').getByText('Não foi possível carregar').waitFor();
	await accessible(page, 'the error');
	await page.unroute('**/api/metrics?range=*');
	await page.getByRole('button', { name: 'Tentar de novo' }).click();
	await page.locator('.metric').first().waitFor();
	// Invalid limits are refused with a message.
	const headers = { 'X-CSRF-TOKEN': await token(page) };
	browser.expect(/422/);
	const refused = await request(page, 'PUT', '/api/metrics/limits', { metric: 'cpu', above: -1 }, headers);
	assert.equal(refused.status, 422);
	const card = page.locator('[data-metric=cpu]');
	await card.getByLabel('Avisar acima de').fill('-1');
	await card.getByRole('button', { name: 'Salvar limite' }).click();
	await card.getByRole('alert').getByText('Informe um número').waitFor();
});

test('the page fits and is accessible in both languages, both themes and all sizes', LIMIT, async () => {
	for (const [size, viewport] of Object.entries({ narrow: { width: 360, height: 740 }, wide: { width: 1280, height: 1000 } })) {
		for (const [colorScheme, locale] of [['light', 'pt-BR'], ['dark', 'en-GB']]) {
			const page = await open('carla', demo.url, { viewport, colorScheme, locale });
			await page.locator('.metric canvas').first().waitFor();
			await change(page);
			await page.locator('[data-metric=cpu] summary').click();
			await accessible(page, `${size}, ${colorScheme}`);
			await page.locator('[data-metric=cpu] summary').click();
			await fits(page, `${size}, ${colorScheme}`);
			await shot(page, `dashboard-${size}-${colorScheme}`);
			await page.context().close();
		}
	}
});

test('the layout does not shift while the charts fill and change', LIMIT, async () => {
	const page = await open('ana');
	for (let n = 0; n < 3; n += 1) await change(page);
	const { shift } = await painted(page);
	assert.ok(shift < 0.1, `the cumulative layout shift is ${shift}`);
});
