import { useEcho, usePrivateChannel, useSubscription, useWebSocketStatus } from '@clarim/vue';
import { computed, nextTick, onMounted, onScopeDispose, ref, shallowReactive, shallowRef, watch } from 'vue';
import type { Limit, Metric, MetricsPage, Sample } from '../events';
import { api, ApiError } from '../session';
import { compareClocks, localTime, type Clock } from './clock';
import { frameOf, frameSize, Tally } from './tally';

export type Mode = 'push' | 'polling';
export const METRICS = ['cpu', 'memory', 'connections', 'activity'] as const satisfies Metric[];
export const PERIODS = [2, 5, 10, 30];
const CHANNEL = 'dashboard';
/** The backend's page size. */
const SHOWN = 120;

/** Receives samples by push or by polling, and measures the cost of each. */
export function useMetrics() {
	const samples = shallowRef<readonly Sample[]>([]);
	const limits = shallowRef<Partial<Record<Metric, number>>>({});
	/** Seconds between measurements. */
	const every = ref(30);
	const isLoaded = ref(false);
	const error = ref<unknown>(null);
	const mode = ref<Mode>('push');
	const period = ref(5);
	const isPaused = ref(false);
	const isLost = ref(false);
	const clock = shallowRef<Clock | null>(null);
	const tallies = shallowReactive<Record<Mode, Tally>>({ push: new Tally(), polling: new Tally() });
	/** Incremented when a tally changes. Tallies aren't reactive, because they change during rendering. */
	const counted = ref(0);
	/** Server time at which this mode was switched on; earlier samples don't count. */
	let since = Infinity;

	const serverTime = (): number => localTime() + (clock.value?.offset ?? 0);

	function take(found: readonly Sample[], by: Mode | null): void {
		const last = samples.value.at(-1)?.at ?? 0;
		const fresh = found.filter(({ at }) => at > last);
		if (!fresh.length) return;
		samples.value = [...samples.value, ...fresh].slice(-SHOWN);
		if (by) void shown(fresh.filter(({ at }) => at > since), tallies[by]);
	}

	/** Records the delay of samples after they have been drawn. */
	async function shown(fresh: readonly Sample[], tally: Tally): Promise<void> {
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

	async function load(): Promise<void> {
		try {
			const [page, found] = await Promise.all([api<MetricsPage>('GET', '/api/metrics'), api<Limit[]>('GET', '/api/metrics/limits')]);
			every.value = page.every;
			limits.value = Object.fromEntries(found.map(({ metric, above }) => [metric, above]));
			take(page.samples, null);
			isLoaded.value = true;
			error.value = null;
		} catch (problem) {
			error.value = problem;
		}
	}

	/** Loads the samples after the last local one. */
	async function ask(by: Mode): Promise<boolean> {
		const tally = tallies[by];
		try {
			const page = await api<MetricsPage>('GET', `/api/metrics?after=${samples.value.at(-1)?.at ?? 0}`);
			isLost.value = false;
			if (!page.samples.length) tally.empty += 1;
			if (!isPaused.value) take(page.samples, by);
			return true;
		} catch (problem) {
			isLost.value = problem instanceof ApiError && problem.status === 0;
			return false;
		}
	}

	async function setLimit(metric: Metric, above: number | null): Promise<void> {
		await api('PUT', '/api/metrics/limits', { metric, above });
		const { [metric]: _, ...others } = limits.value;
		limits.value = above === null ? others : { ...others, [metric]: above };
	}

	// --- Push

	const isPush = computed(() => isLoaded.value && mode.value === 'push' && !isPaused.value);
	const channel = usePrivateChannel(() => (isPush.value ? CHANNEL : null), {
		MetricsUpdated: ({ sample }) => take([sample], 'push'),
	}, { onMissed: () => void ask('push') });
	const { isSubscribed } = useSubscription(channel);
	const { isConnected } = useWebSocketStatus();
	/** The channel whose earlier samples are loaded. */
	let caughtUp: unknown = null;
	watch(isSubscribed, async (subscribed) => {
		if (!subscribed) return;
		tallies.push.requests += 1;
		tallies.push.bytes += authorizationSize();
		// Earlier samples are not pushed, but those of an interruption are.
		const joined = channel.value;
		if (caughtUp !== joined && await ask('push')) caughtUp = joined;
	});

	const connection = useEcho()?.connector.pusher.connection;
	const weigh = (message: { event: string; channel?: string; data?: unknown }) => {
		if (message.channel === `private-${CHANNEL}` && isPush.value) tallies.push.bytes += frameSize(frameOf(message));
	};
	connection?.bind('message', weigh);
	onScopeDispose(() => connection?.unbind('message', weigh));

	// --- Polling

	let timer: ReturnType<typeof setTimeout> | undefined;
	const poll = async (): Promise<void> => {
		clearTimeout(timer);
		if (mode.value !== 'polling' || isPaused.value || !isLoaded.value) return;
		timer = setTimeout(() => void poll(), period.value * 1000);
		await ask('polling');
	};
	watch([mode, isPaused, period, isLoaded], () => void poll());
	onScopeDispose(() => clearTimeout(timer));

	// --- Requests as reported by the browser

	const observer = new PerformanceObserver((list) => {
		for (const entry of list.getEntries() as PerformanceResourceTiming[]) {
			if (!entry.name.includes('/api/metrics?after=')) continue;
			tallies[mode.value].requests += 1;
			tallies[mode.value].bytes += entry.transferSize;
			counted.value += 1;
		}
	});
	observer.observe({ type: 'resource' });
	onScopeDispose(() => observer.disconnect());

	watch([mode, isPaused, isLoaded], () => {
		const now = performance.now();
		since = serverTime();
		for (const one of ['push', 'polling'] as const) {
			if (one === mode.value && !isPaused.value && isLoaded.value) tallies[one].start(now);
			else tallies[one].stop(now);
		}
	}, { flush: 'sync' });

	function reset(): void {
		since = serverTime();
		for (const one of ['push', 'polling'] as const) {
			const isOn = tallies[one].isOn;
			tallies[one] = new Tally();
			if (isOn) tallies[one].start(performance.now());
		}
	}

	onMounted(async () => {
		await compareClocks().then((compared) => { clock.value = compared; }).catch(() => {
			// The page then shows that delays are not measured.
		});
		await load();
	});

	const isOffline = computed(() => (mode.value === 'push' ? !isConnected.value : isLost.value));
	return { samples, limits, every, isLoaded, error, mode, period, isPaused, isOffline, clock, tallies, counted, load, setLimit, reset };
}

/** Size of a response of /broadcasting/auth; all have about the same length. */
function authorizationSize(): number {
	const all = performance.getEntriesByType('resource') as PerformanceResourceTiming[];
	const sizes = all.filter(({ name }) => name.endsWith('/broadcasting/auth')).map(({ transferSize }) => transferSize);
	return sizes.length ? Math.round(sizes.reduce((sum, size) => sum + size) / sizes.length) : 0;
}
