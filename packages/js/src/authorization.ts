import type {
	ChannelAuthorizationCallback, ChannelAuthorizationHandler, UserAuthenticationCallback, UserAuthenticationHandler,
} from 'pusher-js';
import type Pusher from 'pusher-js';
import { batching, type BatchOptions } from './batch.js';
import { pusherOf, type Client } from './client.js';
import { AuthorizationError, isTemporary, Retry, statusOf } from './retry.js';

export interface AuthorizationOptions {
	/**
	 * Renews the token after the backend answered 401 or 419. The request is then repeated once, with the headers
	 * of that moment (`headersProvider`). Several requests share one call.
	 */
	refresh?: () => unknown;
	/** Authorizes many channels in one request. Default: one request per channel. */
	batch?: BatchOptions;
}

/** The authorization of a client. */
export interface Authorization {
	/** Subscribes again to a channel, named with its prefix, whose subscription was rejected. */
	retry(channel: string): void;
	/** Signs in, or retries after a rejection. */
	signIn(): void;
	/**
	 * Ends the identity of the connection. The protocol has no message for it, so the client reconnects. Private and
	 * presence channels are left until the next `signIn` or `retry`.
	 */
	signOut(): void;
}

interface Installed extends Authorization {
	set(options: AuthorizationOptions): void;
}

/** The callback of both kinds of requests. */
type Answer<D> = (error: Error | null, data: D | null) => void;

type ChannelData = NonNullable<Parameters<ChannelAuthorizationCallback>[1]>;
type UserData = NonNullable<Parameters<UserAuthenticationCallback>[1]>;

const authorizations = new WeakMap<Pusher, Installed>();

/**
 * Makes the authorization of channels and the sign-in of a client reliable: requests that failed for a passing
 * reason are repeated with growing pauses of up to 30 s. Returns the existing authorization if the client has one.
 */
export function authorize(client: Client, options: AuthorizationOptions = {}): Authorization {
	const pusher = pusherOf(client);
	let authorization = authorizations.get(pusher);
	if (!authorization) authorizations.set(pusher, authorization = install(pusher));
	authorization.set(options);
	return authorization;
}

/** Renews the token, once for all requests that were sent with the old one. */
class Refresh {
	renew: (() => unknown) | undefined;
	#renewed = 0;
	#running: Promise<void> | undefined;

	/** Sends a request. After a 401 it is repeated with a new token. */
	request<D>(send: (answer: Answer<D>) => void, answer: Answer<D>): void {
		const sent = this.#renewed;
		send((error, data) => {
			if (!error || !this.renew || ![401, 419].includes(statusOf(error) ?? 0)) return answer(error, data);
			const renewed = sent < this.#renewed ? Promise.resolve() : (this.#running ??= this.#run());
			renewed.then(() => send(answer), () => answer(error, null));
		});
	}

	async #run(): Promise<void> {
		try {
			await this.renew!();
			this.#renewed += 1;
		} finally {
			this.#running = undefined;
		}
	}
}

function install(pusher: Pusher): Installed {
	const { config, connection, user } = pusher;
	const { userAuthenticator } = config;
	let authorizer = config.channelAuthorizer;
	const refresh = new Refresh();
	const retries = new Map<string, Retry>();
	const signInRetry = new Retry();
	/** Channels of a user who has signed out. */
	const left = new Set<string>();
	let isResubscribing = false;
	/** Whether the backend rejected the last sign-in. */
	let isRejected = false;
	/** Number of lost connections. The answers to requests of a lost connection are of no use. */
	let lost = 0;

	/** Calls back unless the connection was lost in the meantime. */
	const current = <D>(answer: Answer<D>): Answer<D> => {
		const before = lost;
		return (error, data) => {
			if (before === lost) answer(error, data);
		};
	};

	const subscribe = (name: string): void => {
		const channel = pusher.channel(name);
		if (!channel || channel.subscribed || channel.subscriptionPending) return;
		pusher.subscribe(name);
	};

	/** Does what pusher-js does with its own errors. */
	const reject = (name: string, { status, message }: AuthorizationError): void => {
		const channel = pusher.channel(name);
		if (!channel) return;
		channel.subscriptionPending = false;
		channel.emit('pusher:subscription_error', { type: 'AuthError', error: message, status });
	};

	const authorizeChannel: ChannelAuthorizationHandler = (params, callback) => {
		const { channelName: name } = params;
		if (isResubscribing && left.has(name)) {
			return reject(name, new AuthorizationError(401, 'The user has signed out'));
		}
		left.delete(name);
		refresh.request<ChannelData>((answer) => authorizer(params, answer), current((error, data) => {
			if (!error) {
				retries.get(name)?.reset();
				retries.delete(name);
				return callback(null, data);
			}
			if (isTemporary(error)) {
				const retry = retries.get(name) ?? new Retry();
				retries.set(name, retry);
				retry.later(() => {
					if (!pusher.channel(name)) retries.delete(name);
					subscribe(name);
				});
			}
			if (error instanceof AuthorizationError) reject(name, error);
			else callback(error, null);
		}));
	};
	config.channelAuthorizer = authorizeChannel;

	const signIn = (): void => {
		// pusher-js asks only once and treats a rejection as final.
		if (isRejected) user.signin_requested = false;
		pusher.signin();
	};

	const authenticateUser: UserAuthenticationHandler = (params, callback) => {
		isRejected = false;
		refresh.request<UserData>((answer) => userAuthenticator(params, answer), current((error, data) => {
			isRejected = error !== null;
			if (!error) signInRetry.reset();
			else if (isTemporary(error)) signInRetry.later(() => user.signin_requested && signIn());
			callback(error, data);
		}));
	};
	config.userAuthenticator = authenticateUser;

	connection.bind('state_change', ({ previous }: { previous: string }) => {
		if (previous !== 'connected') return;
		lost += 1;
		// pusher-js repeats everything on the next connection.
		signInRetry.reset();
		for (const retry of retries.values()) retry.reset();
		retries.clear();
	});

	const { subscribeAll, signin } = pusher;
	pusher.subscribeAll = function () {
		isResubscribing = true;
		try {
			subscribeAll.call(this);
		} finally {
			isResubscribing = false;
		}
	};
	pusher.signin = function () {
		signin.call(this);
		const names = [...left];
		left.clear();
		if (connection.state === 'connected') names.forEach(subscribe);
	};

	return {
		set({ refresh: renew, batch }) {
			if (renew) refresh.renew = renew;
			if (batch) authorizer = batching(batch);
		},
		retry(name) {
			retries.get(name)?.reset();
			subscribe(name);
		},
		signIn,
		signOut() {
			if (!user.signin_requested) return;
			for (const { name } of pusher.allChannels()) left.add(name);
			if (connection.state === 'connected') {
				pusher.disconnect();
				user.signin_requested = false;
				pusher.connect();
			} else {
				user.signin_requested = false;
			}
		},
	};
}
