import { useEcho, usePrivateChannel, useSubscription } from '@clarim/vue';
import { computed, nextTick, onMounted, onScopeDispose, ref, shallowReactive, shallowRef, watch } from 'vue';
import type { Limit, Metric, MetricsPage, Sample } from '../events';
import { useConnection } from '../layout/connection';
import { api } from '../session';
import { compareClocks, localTime, type Clock } from './clock';
import { frameOf, frameSize, Tally } from './tally';

export type Mode = 'push' | 'polling';
export const MODES = ['push', 'polling'] as const satisfies Mode[];
export const GROUPS = {
	shop: ['sales_today', 'active_users', 'pending_orders'],
	server: ['cpu', 'memory', 'connections', 'activity'],
} as const satisfies Record<string, Metric[]>;
export const PERIODS = [2, 5, 10, 30];
/** Ranges of the charts, in seconds. */
export const RANGES = [300, 3600, 86_400] as const;
const CHANNEL = 'dashboard';
/** Milliseconds between attempts to load missed samples. */
const RETRY = 2000;

/** Receives samples by push, which the charts show, and beside it by polling. Measures the cost of each. */
export function useMetrics() {
	const samples = shallowRef<readonly Sample[]>([]);
	/** Time of the last sample that each mode has brought. */
	const latest = shallowReactive<Record<Mode, number | null>>({ push: null, polling: null });
	const limits = shallowRef<Partial<Record<Metric, number>>>({});
	/** Seconds between measurements. */
	const every = ref(30);
	const isLoaded = ref(false);
	const error = ref<unknown>(null);
	const period = ref(5);
	const range = ref<number>(RANGES[1]);
	const isPaused = ref(false);
	const clock = shallowRef<Clock | null>(null);
	const tallies = shallowReactive<Record<Mode, Tally>>({ push: new Tally(), polling: new Tally() });
	/** Incremented when a tally changes. Tallies aren't reactive, because they change during rendering. */
	const counted = ref(0);
	/** Server time at which the measurement began; earlier samples don't count. */
	let since = Infinity;

	const serverTime = (): number => localTime() + (clock.value?.offset ?? 0);
	const lastShown = (): number => samples.value.at(-1)?.at ?? 0;

	/** Adds samples to the charts. Later ones may have been pushed while these were requested. */
	function show(found: readonly Sample[]): void {
		const shown = new Set(samples.value.map(({ at }) => at));
		const fresh = found.filter(({ at }) => !shown.has(at));
		if (!fresh.length) return;
		const all = [...samples.value, ...fresh].sort((a, b) => a.at - b.at);
		const first = all.at(-1)!.at - range.value * 1000;
		samples.value = all.filter(({ at }) => at >= first);
	}

	/** Counts the samples that a mode has brought. */
	function take(found: readonly Sample[], by: Mode): void {
		const known = latest[by] ?? since;
		const fresh = found.filter(({ at }) => at > Math.max(known, since));
		if (by === 'push') show(found);
		if (!fresh.length) return;
		latest[by] = fresh.at(-1)!.at;
		void drawn(fresh, tallies[by]);
	}

	/** Records the delay of samples after they have been drawn. */
	async function drawn(fresh: readonly Sample[], tally: Tally): Promise<void> {
		tally.updates += fresh.length;
		counted.value += 1;
		await nextTick();
		// Hidden tabs don't draw.
		if (document.visibilityState !== 'visible' || !clock.value) return;
		// The first callback runs before the frame is drawn, the second after it.
		requestAnimationFrame(() => requestAnimationFrame(() => {
			for (const { at } of fresh) tally.delays.push(serverTime() - at);
			counted.value += 1;
		}));
	}

	async function loadRange(): Promise<void> {
		const page = await api<MetricsPage>('GET', `/api/metrics?range=${range.value}`);
		every.value = page.every;
		// Samples may have been pushed since the response was made.
		const last = page.samples.at(-1)?.at ?? 0;
		samples.value = [...page.samples, ...samples.value.filter(({ at }) => at > last)];
	}

	async function load(): Promise<void> {
		try {
			const [found] = await Promise.all([api<Limit[]>('GET', '/api/metrics/limits'), loadRange()]);
			limits.value = Object.fromEntries(found.map(({ metric, above }) => [metric, above]));
			isLoaded.value = true;
			error.value = null;
		} catch (problem) {
			error.value = problem;
		}
	}
	watch(range, () => loadRange().catch(() => {
		// The charts keep the samples that they have.
	}));

	/** Loads the samples after a time. */
	async function ask(by: Mode, after: number): Promise<boolean> {
		const tally = tallies[by];
		try {
			const page = await api<MetricsPage>('GET', `/api/metrics?after=${after}&by=${by}`);
			if (!page.samples.length) tally.empty += 1;
			if (!isPaused.value) take(page.samples, by);
			return true;
		} catch {
			return false;
		}
	}

	async function setLimit(metric: Metric, above: number | null): Promise<void> {
		await api('PUT', '/api/metrics/limits', { metric, above });
		const { [metric]: _, ...others } = limits.value;
		limits.value = above === null ? others : { ...others, [metric]: above };
	}

	// --- Push

	const isOn = computed(() => isLoaded.value && !isPaused.value);
	const channel = usePrivateChannel(() => (isOn.value ? CHANNEL : null), {
		MetricsUpdated: ({ sample }) => take([sample], 'push'),
	}, { onMissed: () => void catchUp() });
	const { isSubscribed } = useSubscription(channel);
	const { isConnected } = useConnection();
	/** The channel whose earlier samples are loaded. */
	let caughtUp: unknown = null;
	/** Loads the samples after the last one that is shown. Samples that are pushed while it asks change nothing. */
	async function catchUp(): Promise<void> {
		const joined = channel.value;
		const after = lastShown();
		while (channel.value === joined) {
			if (await ask('push', after)) {
				caughtUp = joined;
				return;
			}
			await new Promise((resolve) => { setTimeout(resolve, RETRY); });
		}
	}
	watch(isSubscribed, (subscribed) => {
		if (!subscribed) return;
		tallies.push.requests += 1;
		tallies.push.bytes += authorizationSize();
		// Earlier samples are not pushed, but those of an interruption are.
		if (caughtUp !== channel.value) void catchUp();
	});

	const connection = useEcho()?.connector.pusher.connection;
	const weigh = (message: { event: string; channel?: string; data?: unknown }) => {
		if (message.channel === `private-${CHANNEL}` && isOn.value) tallies.push.bytes += frameSize(frameOf(message));
	};
	connection?.bind('message', weigh);
	onScopeDispose(() => connection?.unbind('message', weigh));

	// --- Polling

	let timer: ReturnType<typeof setTimeout> | undefined;
	const poll = async (): Promise<void> => {
		clearTimeout(timer);
		if (!isOn.value) return;
		timer = setTimeout(() => void poll(), period.value * 1000);
		await ask('polling', latest.polling ?? Math.floor(since));
	};
	onScopeDispose(() => clearTimeout(timer));

	// --- Requests as reported by the browser

	const observer = new PerformanceObserver((list) => {
		for (const entry of list.getEntries() as PerformanceResourceTiming[]) {
			const by = MODES.find((mode) => entry.name.includes('/api/metrics?after=') && entry.name.endsWith(`&by=${mode}`));
			if (!by) continue;
			tallies[by].requests += 1;
			tallies[by].bytes += entry.transferSize;
			counted.value += 1;
		}
	});
	observer.observe({ type: 'resource' });
	onScopeDispose(() => observer.disconnect());

	watch(isOn, (on) => {
		since = serverTime();
		for (const one of MODES) {
			if (on) tallies[one].start(performance.now());
			else tallies[one].stop(performance.now());
		}
	}, { flush: 'sync' });
	watch([isOn, period], () => void poll());

	function reset(): void {
		since = serverTime();
		for (const one of MODES) {
			const { isOn: wasOn } = tallies[one];
			tallies[one] = new Tally();
			latest[one] = null;
			if (wasOn) tallies[one].start(performance.now());
		}
	}

	onMounted(async () => {
		await compareClocks().then((compared) => { clock.value = compared; }).catch(() => {
			// The page then shows that delays are not measured.
		});
		await load();
	});

	const isOffline = computed(() => !isConnected.value);
	return {
		samples, latest, limits, every, isLoaded, error, period, range, isPaused, isOffline, clock, tallies, counted, load, setLimit, reset,
	};
}

/** Size of a response of /broadcasting/auth; all have about the same length. */
function authorizationSize(): number {
	const all = performance.getEntriesByType('resource') as PerformanceResourceTiming[];
	const sizes = all.filter(({ name }) => name.endsWith('/broadcasting/auth')).map(({ transferSize }) => transferSize);
	return sizes.length ? Math.round(sizes.reduce((sum, size) => sum + size) / sizes.length) : 0;
}
