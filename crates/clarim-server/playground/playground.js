// Clarim's test page. Text from the network is inserted with textContent only.

const base = new URL('.', import.meta.url);
const el = (id) => document.getElementById(id);

// ---- Languages ----

// Portuguese translations of the English texts in index.html.
const portuguese = {
	tagline: 'experimente', connectNow: 'Conectar', subscribeTitle: 'Inscreva-se em um canal',
	kind: 'Tipo de canal', public: 'Público', private: 'Privado', presence: 'Presença',
	channel: 'Canal', subscribe: 'Inscrever-se', subscriptions: 'Inscrições',
	noSubscriptions: 'Nenhuma ainda.', sendTitle: 'Envie um evento', eventName: 'Nome do evento',
	eventData: 'Dados (JSON)', send: 'Enviar evento', whisper: 'Enviar whisper',
	whisperHint: 'Um evento de cliente (whisper, “sussurro”) vai pelo WebSocket aos outros inscritos de ' +
		'um canal privado ou de presença, não a esta aba.',
	logTitle: 'Veja chegar', clear: 'Limpar',
	secondTab: 'Abra uma segunda aba e veja o evento chegar às duas.',
	secondTabLink: 'Abrir uma segunda aba', codeTitle: 'Na sua aplicação', codeKind: 'Biblioteca',
	codeIntro: 'O código usa este servidor e o evento acima. Guarde o id e o segredo do app no ' +
		'ambiente do seu backend. Esta página nunca vê o segredo.',
};

const words = {
	connecting: ['Connecting…', 'Conectando…'],
	connected: ['Connected', 'Conectado'],
	waiting: ['Disconnected, reconnecting in {n} s', 'Desconectado, reconectando em {n} s'],
	refused: ['Disconnected: {reason}', 'Desconectado: {reason}'],
	lost: ['Connection lost', 'Conexão perdida'],
	unreachable: ['The server is unreachable.', 'O servidor está inacessível.'],
	answered: ['The server answered {n}.', 'O servidor respondeu {n}.'],
	hint: ['Anyone can subscribe.', 'Qualquer pessoa pode se inscrever.'],
	'hint-private-': ['Your application authorizes each subscription. This page allows all of them.',
		'Sua aplicação autoriza cada inscrição. Esta página permite todas.'],
	'hint-presence-': ['A private channel whose members see each other.',
		'Um canal privado em que os membros veem uns aos outros.'],
	badChannel: ['Use only letters, digits and _ - = @ , . ;',
		'Use apenas letras sem acento, números e _ - = @ , . ;'],
	pending: ['subscribing…', 'inscrevendo-se…'],
	subscribed: ['subscribed', 'inscrito'],
	unsubscribe: ['Unsubscribe', 'Cancelar'],
	unsubscribeFrom: ['Unsubscribe from {channel}', 'Cancelar a inscrição em {channel}'],
	member: ['{n} member', '{n} membro'],
	members: ['{n} members', '{n} membros'],
	guest: ['Guest {n}', 'Visitante {n}'],
	you: ['{name} (you)', '{name} (você)'],
	hello: ['Hello from Clarim!', 'Olá do Clarim!'],
	badJson: ['Not valid JSON: {reason}', 'JSON inválido: {reason}'],
	noName: ['Enter an event name.', 'Informe o nome do evento.'],
	sent: ['Sent.', 'Enviado.'],
	sentElsewhere: ['Sent, but this page is not subscribed to {channel}.',
		'Enviado, mas esta página não está inscrita em {channel}.'],
	whispered: ['Whisper sent to the other subscribers.', 'Whisper enviado aos outros inscritos.'],
	filter: ['Filter', 'Filtrar'],
	pause: ['Pause', 'Pausar'],
	resume: ['Resume', 'Continuar'],
	logEmpty: ['Subscribe to a channel and send an event. It appears here.',
		'Inscreva-se em um canal e envie um evento. Ele aparece aqui.'],
	noMatch: ['Nothing matches the filter.', 'Nada corresponde ao filtro.'],
	in: ['received', 'recebido'],
	out: ['sent', 'enviado'],
	system: ['notice', 'aviso'],
	error: ['error', 'erro'],
	roundTrip: ['round trip', 'ida e volta'],
	subscribedTo: ['Subscribed', 'Inscrito'],
	unsubscribedFrom: ['Unsubscribed', 'Inscrição cancelada'],
	joined: ['Member joined', 'Membro entrou'],
	left: ['Member left', 'Membro saiu'],
	cacheMiss: ['No cached event yet', 'Nenhum evento em cache ainda'],
	rejected: ['Rejected', 'Recusado'],
	copy: ['Copy', 'Copiar'],
	copied: ['Copied', 'Copiado'],
	dot: ['The leading dot means: exactly this event name', 'O ponto inicial significa: exatamente este nome de evento'],
};

// The browser may block storage; the choice is then not kept.
function remembered(value) {
	try {
		if (value) localStorage.setItem('clarim-language', value);
		return localStorage.getItem('clarim-language');
	} catch {
		return null;
	}
}

let language = (remembered() ?? navigator.language).startsWith('pt') ? 'pt-BR' : 'en';

function t(key, values = {}) {
	return words[key][language === 'en' ? 0 : 1].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function make(tag, className, text = '') {
	const node = document.createElement(tag);
	node.className = className;
	node.textContent = text;
	return node;
}

/** Creates an element whose text follows the selected language. */
function label(tag, className, key) {
	const node = make(tag, className, t(key));
	node.dataset.t = key;
	return node;
}

// ---- The Pusher client ----

const PONG_TIMEOUT_MS = 30_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const MAX_PAUSE_S = 30;
// Shorter connections don't reset the backoff, so that a server that accepts and closes is not flooded.
const STABLE_MS = 5_000;

function decode(data) {
	if (typeof data !== 'string') return data;
	try {
		return JSON.parse(data);
	} catch {
		return data;
	}
}

async function post(path, body) {
	const response = await fetch(new URL(path, base), {
		method: 'POST',
		headers: { 'Content-Type': 'application/json' },
		body: JSON.stringify(body),
	}).catch(() => { throw new Error(t('unreachable')); });
	const text = (await response.text()).trim();
	if (!response.ok) throw new Error(text || t('answered', { n: response.status }));
	return decode(text);
}

class Client {
	state = 'connecting';
	socketId = '';
	reason = '';
	retryAt = 0;
	config = null;
	channels = new Map();
	#socket = null;
	#timer = 0;
	#failures = 0;
	#establishedAt = 0;

	/** `changed` follows every change; `notice` and `event` feed the log. */
	constructor({ changed, notice, event }) {
		Object.assign(this, { changed, notice, event });
	}

	async connect() {
		this.#drop();
		this.#enter('connecting');
		const timer = this.#after(HANDSHAKE_TIMEOUT_MS, () => this.#closed(1006, ''));
		try {
			// Fetched on every attempt, because a restarted development server may have another key.
			const response = await fetch(new URL('config', base), { cache: 'no-store' });
			if (!response.ok) throw new Error(t('answered', { n: response.status }));
			const config = await response.json();
			if (timer !== this.#timer) return;
			this.config = config;
		} catch {
			if (timer === this.#timer) this.#closed(1006, '');
			return;
		}
		const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
		const { path, key } = this.config;
		const socket = new WebSocket(`${scheme}://${location.host}${path}/app/` +
			`${encodeURIComponent(key)}?protocol=7&client=playground&version=1.0`);
		this.#socket = socket;
		socket.onmessage = ({ data }) => this.#receive(decode(data));
		socket.onclose = ({ code, reason }) => this.#closed(code, reason);
	}

	subscribe(name, member) {
		if (this.channels.get(name)?.state === 'subscribed') return;
		const channel = { state: 'pending', reason: '', member, members: new Map() };
		this.channels.set(name, channel);
		this.changed();
		if (this.socketId) this.#join(name, channel);
	}

	unsubscribe(name) {
		this.channels.delete(name);
		this.#send('pusher:unsubscribe', { channel: name });
		this.notice('system', 'unsubscribedFrom', name);
		this.changed();
	}

	whisper(channel, event, data) {
		this.#send(event, data, channel);
	}

	#enter(state) {
		this.state = state;
		this.changed();
	}

	#after(ms, action) {
		clearTimeout(this.#timer);
		this.#timer = setTimeout(action, ms);
		return this.#timer;
	}

	#drop() {
		clearTimeout(this.#timer);
		this.socketId = '';
		if (!this.#socket) return;
		this.#socket.onmessage = this.#socket.onclose = null;
		this.#socket.close();
		this.#socket = null;
	}

	#send(event, data, channel) {
		if (this.#socket?.readyState !== WebSocket.OPEN) return;
		this.#socket.send(JSON.stringify({ event, channel, data }));
	}

	async #join(name, channel) {
		const { socketId } = this;
		const data = { channel: name, auth: '' };
		if (/^(private|presence)-/.test(name)) {
			const body = { socket_id: socketId, channel_name: name };
			if (name.startsWith('presence-')) body.channel_data = JSON.stringify(channel.member);
			try {
				Object.assign(data, { channel_data: body.channel_data }, await post('auth', body));
			} catch (error) {
				return this.#refuse(name, channel, error.message);
			}
		}
		// In the meantime the socket may have changed, or the user may have unsubscribed.
		if (this.socketId === socketId && this.channels.get(name) === channel) {
			this.#send('pusher:subscribe', data);
		}
	}

	#refuse(name, channel, reason) {
		if (this.channels.get(name) !== channel) return;
		Object.assign(channel, { state: 'refused', reason });
		this.notice('error', 'rejected', name, reason);
		this.changed();
	}

	#receive(frame) {
		this.#awaitSilence();
		const data = decode(frame.data) ?? {};
		const channel = this.channels.get(frame.channel);
		switch (frame.event) {
			case 'pusher:connection_established': return this.#established(data);
			case 'pusher:ping': return this.#send('pusher:pong', {});
			case 'pusher:pong': return undefined;
			case 'pusher:error': return this.notice('error', 'error', '', data.message ?? data);
			case 'pusher:cache_miss': return this.notice('system', 'cacheMiss', frame.channel);
			case 'pusher:subscription_error':
				return channel && this.#refuse(frame.channel, channel, data.error ?? data.type ?? '');
			default:
		}
		if (frame.event.startsWith('pusher_internal:')) {
			if (channel) this.#update(frame, channel, data);
		} else if (channel) {
			this.event(frame);
		}
	}

	#established({ socket_id: id, activity_timeout: seconds }) {
		this.socketId = id;
		this.silenceMs = (seconds || 120) * 1000;
		this.#establishedAt = Date.now();
		this.#awaitSilence();
		this.notice('system', 'connected', '');
		this.#enter('connected');
		for (const [name, channel] of this.channels) this.#join(name, channel);
	}

	#update(frame, channel, data) {
		const kind = frame.event.slice('pusher_internal:'.length);
		if (kind === 'subscription_succeeded') {
			channel.state = 'subscribed';
			channel.members = new Map(Object.entries(data.presence?.hash ?? {}));
			this.notice('system', 'subscribedTo', frame.channel);
		} else if (kind === 'member_added') {
			channel.members.set(String(data.user_id), data.user_info);
			this.notice('system', 'joined', frame.channel, data);
		} else if (kind === 'member_removed') {
			channel.members.delete(String(data.user_id));
			this.notice('system', 'left', frame.channel, data);
		}
		this.changed();
	}

	/** Pings after a silence and closes the connection without a pong. Any frame restarts the timer. */
	#awaitSilence() {
		if (!this.socketId) return;
		this.#after(this.silenceMs, () => {
			this.#send('pusher:ping', {});
			this.#after(PONG_TIMEOUT_MS, () => this.#closed(1006, ''));
		});
	}

	/** Close codes 4000–4099 and from 4300: don't reconnect; 4200–4299: reconnect immediately; all others:
	 *  reconnect after a backoff. */
	#closed(code, reason) {
		const wasConnected = this.socketId !== '';
		const stable = wasConnected && Date.now() - this.#establishedAt > STABLE_MS;
		this.#drop();
		for (const channel of this.channels.values()) {
			Object.assign(channel, { state: 'pending', members: new Map() });
		}
		if (wasConnected) this.notice('error', 'lost', '', `${code} ${reason}`.trim());
		if (stable) this.#failures = 0;
		if ((code >= 4000 && code < 4100) || code >= 4300) {
			this.reason = reason || code;
			this.#enter('refused');
		} else if (stable && code >= 4200) {
			this.connect();
		} else {
			const pause = Math.min(MAX_PAUSE_S, 2 ** this.#failures) * (1 + Math.random() / 4);
			this.#failures += 1;
			this.retryAt = Date.now() + pause * 1000;
			this.#countDown();
		}
	}

	#countDown() {
		const left = this.retryAt - Date.now();
		if (left <= 0) return void this.connect();
		this.#after(Math.min(left, 1000), () => this.#countDown());
		this.#enter('waiting');
	}
}

// ---- The log ----

const MAX_ENTRIES = 300;
const MAX_SHOWN = 20_000;
const ARROWS = { in: '↓', out: '↑', system: '•', error: '!' };

/** Returns indented JSON, or the original text if parsing would change a value, as with 64-bit ids. */
function pretty(data) {
	const text = JSON.stringify(decode(data), null, 2) ?? '';
	const same = (other) => text.replace(/\s/g, '') === other.replace(/\s/g, '');
	return typeof data !== 'string' || same(data) ? text : data;
}

class Log {
	#entries = [];
	#waiting = [];
	#frame = 0;
	#paused = false;

	add(kind, fields) {
		this.#waiting.push({ kind, at: new Date(), ...fields });
		if (this.#waiting.length > MAX_ENTRIES) this.#waiting.shift();
		if (this.#paused) this.render();
		else this.#frame ||= requestAnimationFrame(() => this.#flush());
	}

	togglePause() {
		this.#paused = !this.#paused;
		this.#flush();
	}

	clear() {
		this.#entries = [];
		this.#waiting = [];
		el('log').replaceChildren();
		this.render();
	}

	/** Updates everything that depends on the language, the filter or the number of entries. */
	render() {
		const count = this.#waiting.length;
		el('pause').textContent =
			this.#paused ? t('resume') + (count ? ` (${count})` : '') : t('pause');
		const wanted = el('filter').value.trim().toLowerCase();
		for (const { node, text } of this.#entries) node.hidden = !text.includes(wanted);
		const shown = this.#entries.filter(({ node }) => !node.hidden);
		// The hint stays visible behind the first notices ("Connected").
		const quiet = shown.length < 4 && shown.every(({ node }) => node.matches('.system'));
		el('log-empty').hidden = wanted ? shown.length > 0 : !quiet;
		el('log-empty').textContent = t(wanted ? 'noMatch' : 'logEmpty');
	}

	// Once per animation frame, so that a busy channel cannot freeze the page.
	#flush() {
		this.#frame = 0;
		if (!this.#paused) {
			for (const entry of this.#waiting.splice(0)) this.#show(entry);
		}
		this.render();
	}

	#show({ kind, at, channel, event, key, data, latency }) {
		const node = make('div', `entry ${kind}`);
		const head = make('div', 'entry-head');
		const arrow = make('span', 'arrow', ARROWS[kind]);
		arrow.ariaHidden = 'true';
		const time = make('time', '', at.toLocaleTimeString(language, {
			hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hour12: false,
		}));
		head.append(arrow, label('span', 'unseen', kind), time);
		if (channel) head.append(make('code', 'channel', channel));
		head.append(key ? label('span', 'event', key) : make('code', 'event', event));
		if (latency !== undefined) {
			const number = latency.toLocaleString(language, { maximumFractionDigits: 1 });
			const badge = make('span', 'latency', `${number} ms `);
			badge.append(label('span', '', 'roundTrip'));
			head.append(badge);
		}
		node.append(head);
		const text = pretty(data);
		if (text && text !== '{}') {
			const cut = text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
			node.append(make('pre', '', cut));
		}
		el('log').prepend(node);
		const words = `${channel ?? ''} ${event ?? t(key)} ${text}`.toLowerCase();
		this.#entries.unshift({ node, text: words });
		if (this.#entries.length > MAX_ENTRIES) this.#entries.pop().node.remove();
	}
}

// ---- The page ----

const log = new Log();
const client = new Client({
	changed: render,
	notice: (kind, key, channel, data) => log.add(kind, { key, channel, data }),
	event: arrived,
});

// Each tab is a separate member.
const memberId = crypto.getRandomValues(new Uint32Array(1))[0].toString(36);
const guest = 1000 + Math.floor(Math.random() * 9000);
const me = () => ({ user_id: memberId, user_info: { name: t('guest', { n: guest }) } });

// Events in flight with their send times, to match them on arrival.
let inFlight = [];

function arrived({ channel, event, data, user_id: user }) {
	const now = performance.now();
	inFlight = inFlight.filter(({ at }) => now - at < 30_000);
	const i = inFlight.findIndex((sent) =>
		sent.channel === channel && sent.name === event && sent.data === data);
	const latency = i < 0 ? undefined : now - inFlight.splice(i, 1)[0].at;
	const from = user === undefined ? '' : ` ← ${nameOf(channel, user)}`;
	log.add('in', { channel, event: event + from, data, latency });
}

function nameOf(channel, user) {
	return client.channels.get(channel)?.members.get(String(user))?.name ?? String(user);
}

let announced = '';

function renderStatus() {
	const n = Math.max(1, Math.ceil((client.retryAt - Date.now()) / 1000));
	// Announce changes of state to screen readers, not each second.
	el('status').ariaLive = announced === client.state ? 'off' : 'polite';
	el('status').textContent = t(client.state, { n, reason: client.reason });
	announced = client.state;
	el('status').closest('.connection').dataset.state = client.state;
	el('socket-id').textContent = client.socketId;
	el('reconnect').hidden = !['waiting', 'refused'].includes(client.state);
}

function subscriptionRow(name) {
	const row = make('li', '');
	row.dataset.channel = name;
	const line = make('div', 'subscription');
	const names = make('div', 'names');
	names.append(make('code', '', name), make('small', ''));
	const button = label('button', 'quiet', 'unsubscribe');
	button.type = 'button';
	button.onclick = () => {
		client.unsubscribe(name);
		el('channel-input').focus();
	};
	line.append(names, button);
	row.append(line, make('ul', 'members'));
	return row;
}

function renderMembers(list, channel) {
	list.replaceChildren(...[...channel.members].map(([id, info]) => {
		const name = String(info?.name ?? id);
		const mine = id === memberId;
		return make('li', mine ? 'me' : '', mine ? t('you', { name }) : name);
	}));
}

/** Updates the rows in place, so that a row's button keeps the focus. */
function renderSubscriptions() {
	const list = el('subscriptions');
	const rows = new Map([...list.children].map((row) => [row.dataset.channel, row]));
	for (const [name, channel] of client.channels) {
		const row = rows.get(name) ?? subscriptionRow(name);
		rows.delete(name);
		if (!row.isConnected) list.append(row);
		const n = channel.members.size;
		const state = channel.state === 'refused' ? channel.reason : t(channel.state);
		row.dataset.state = channel.state;
		row.querySelector('small').textContent =
			n ? `${state} · ${t(n === 1 ? 'member' : 'members', { n })}` : state;
		row.querySelector('button').ariaLabel = t('unsubscribeFrom', { channel: name });
		renderMembers(row.querySelector('.members'), channel);
	}
	for (const row of rows.values()) row.remove();
	const names = [...client.channels.keys()];
	el('no-subscriptions').hidden = names.length > 0;
	// The URL keeps the channels for a reload and for the second tab.
	const hash = names.length ? `#${names.join('&')}` : '';
	if (location.hash !== hash) history.replaceState(null, '', hash || location.pathname);
	el('second-tab').href = location.pathname + (hash || '#hello');
}

function renderWhisper() {
	const name = el('event-channel').value.trim();
	el('whisper').disabled = client.state !== 'connected' || !/^(private|presence)-/.test(name) ||
		client.channels.get(name)?.state !== 'subscribed';
}

function render() {
	renderStatus();
	renderSubscriptions();
	renderWhisper();
	renderSnippet();
}

function renderKind() {
	const name = el('channel-input').value;
	const kind = name.match(/^(private|presence)-/)?.[0] ?? '';
	document.querySelector(`[name=kind][value="${kind}"]`).checked = true;
	el('kind-hint').textContent = t(`hint${kind && `-${kind}`}`);
}

/** Shows a message below a form and marks the invalid `field`, if any. */
function showMessage(note, text, tone, field) {
	for (const input of el(note).closest('form').elements) {
		input.ariaInvalid = input === field ? 'true' : null;
	}
	el(note).className = `problem ${tone}`;
	el(note).textContent = text;
}

const validChannel = (name) => /^[\w\-=@,.;]{1,200}$/.test(name);

function subscribe(event) {
	event.preventDefault();
	const field = el('channel-input');
	const name = field.value.trim();
	if (!validChannel(name)) return showMessage('channel-problem', t('badChannel'), 'bad', field);
	showMessage('channel-problem', '', '');
	el('event-channel').value = name;
	client.subscribe(name, me());
}

/** Returns the event in the form, or shows what is wrong with it. */
function readEvent() {
	const [channel, name, data] =
		['event-channel', 'event-name', 'event-data'].map((id) => el(id).value.trim());
	const wrong = (id, text) => {
		showMessage('send-note', text, 'bad', el(id));
		el(id).focus();
	};
	if (!validChannel(channel)) return wrong('event-channel', t('badChannel'));
	if (!name) return wrong('event-name', t('noName'));
	try {
		return { channel, name, data, value: JSON.parse(data) };
	} catch (error) {
		return wrong('event-data', t('badJson', { reason: error.message }));
	}
}

async function send(submit) {
	submit.preventDefault();
	const event = readEvent();
	if (!event) return;
	const { channel, name, data } = event;
	log.add('out', { channel, event: name, data });
	const sent = { channel, name, data, at: performance.now() };
	inFlight.push(sent);
	try {
		await post('events', { name, channel, data });
		const here = client.channels.get(channel)?.state === 'subscribed';
		showMessage('send-note', t(here ? 'sent' : 'sentElsewhere', { channel }), here ? 'good' : '');
	} catch (error) {
		inFlight = inFlight.filter((other) => other !== sent);
		log.add('error', { key: 'rejected', channel, data: error.message });
		showMessage('send-note', error.message, 'bad');
	}
}

function whisper() {
	const event = readEvent();
	if (!event) return;
	const name = event.name.startsWith('client-') ? event.name : `client-${event.name}`;
	client.whisper(event.channel, name, event.value);
	log.add('out', { channel: event.channel, event: name, data: event.data });
	showMessage('send-note', t('whispered'), 'good');
}

function checkJson() {
	let problem = '';
	try {
		JSON.parse(el('event-data').value);
	} catch (error) {
		problem = t('badJson', { reason: error.message });
	}
	showMessage('send-note', problem, 'bad', problem && el('event-data'));
	renderSnippet();
}

// ---- Code to copy ----

const q = JSON.stringify;

/** Converts a JSON value to PHP syntax: array brackets, and escaped dollar signs. */
const php = (value) => q(value).replace(/"(?:[^"\\]|\\.)*"|[{}:,]/g, (token) =>
	({ '{': '[', '}': ']', ':': ' => ', ',': ', ' })[token] ?? token.replaceAll('$', '\\$'));

const METHODS = { private: 'private', presence: 'join', 'private-encrypted': 'encryptedPrivate' };

function snippets({ key, host, port, tls, path, channel, name, value }) {
	const [, kind, bare] = channel.match(/^(?:(private-encrypted|private|presence)-)?(.*)$/);
	return {
		echo: `// npm install laravel-echo pusher-js
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';

window.Pusher = Pusher;
window.Echo = new Echo({
  broadcaster: 'reverb',
  key: ${q(key)},
  wsHost: ${q(host)},
  wsPort: ${port},
  wssPort: ${port},${path && `\n  wsPath: ${q(path)},`}
  forceTLS: ${tls},
  enabledTransports: ['ws', 'wss'],
});

// ${t('dot')}
Echo.${METHODS[kind] ?? 'channel'}(${q(bare)}).listen(${q(`.${name}`)}, console.log);`,
		php: `// composer require pusher/pusher-php-server
$clarim = new Pusher\\Pusher(
    ${php(key)}, getenv('REVERB_APP_SECRET'), getenv('REVERB_APP_ID'),
    ['host' => ${php(host)}, 'port' => ${port}, 'scheme' => '${tls ? 'https' : 'http'}'${
  path && `, 'path' => ${php(path)}`}],
);
$clarim->trigger(${php(channel)}, ${php(name)}, ${php(value)});`,
		node: `// npm install pusher
import Pusher from 'pusher';

const clarim = new Pusher({
  appId: process.env.REVERB_APP_ID,
  key: ${q(key)},
  secret: process.env.REVERB_APP_SECRET,
  host: ${q(host)},
  port: '${port}',
  useTLS: ${tls},
});
await clarim.trigger(${q(channel)}, ${q(name)}, ${q(value)});`,
	};
}

function renderSnippet() {
	const { key = '', path = '' } = client.config ?? {};
	const tls = location.protocol === 'https:';
	el('snippet').textContent = snippets({
		key, path, tls, host: location.hostname, port: location.port || (tls ? 443 : 80),
		channel: el('event-channel').value.trim(), name: el('event-name').value.trim(),
		value: decode(el('event-data').value),
	})[el('snippets').querySelector(':checked').value];
	// Pusher's Node.js library doesn't support a path.
	el('node').hidden = path !== '';
}

// execCommand, because the clipboard API needs HTTPS. If it fails, the text stays selected.
function copy() {
	getSelection().selectAllChildren(el('snippet'));
	el('copy').textContent = t(document.execCommand('copy') ? 'copied' : 'copy');
	setTimeout(() => { el('copy').textContent = t('copy'); }, 2000);
}

// ---- Start ----

function translate() {
	document.documentElement.lang = language;
	document.title = `Clarim: ${t('tagline')}`;
	for (const node of document.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
	el('filter').ariaLabel = el('filter').placeholder = t('filter');
	el('language').value = language;
	showMessage('send-note', '', '');
	showMessage('channel-problem', '', '');
	renderKind();
	log.render();
	render();
}

function chooseLanguage() {
	language = el('language').value;
	remembered(language);
	translate();
}

function chooseKind({ target }) {
	const bare = el('channel-input').value.replace(/^(private|presence)-/, '');
	el('channel-input').value = target.value + bare;
	renderKind();
}

function listen() {
	el('language').onchange = chooseLanguage;
	el('reconnect').onclick = () => client.connect();
	el('subscribe-form').onsubmit = subscribe;
	el('subscribe-form').querySelector('.kinds').onchange = chooseKind;
	el('channel-input').oninput = renderKind;
	el('send-form').onsubmit = send;
	el('whisper').onclick = whisper;
	el('event-data').oninput = checkJson;
	el('event-data').onkeydown = (event) => {
		if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) send(event);
	};
	for (const id of ['event-channel', 'event-name']) {
		el(id).oninput = () => { renderWhisper(); renderSnippet(); };
	}
	el('filter').oninput = () => log.render();
	el('pause').onclick = () => log.togglePause();
	el('clear').onclick = () => log.clear();
	el('copy').onclick = copy;
	el('snippets').onchange = renderSnippet;
}

function start() {
	for (const node of document.querySelectorAll('[data-t]')) {
		words[node.dataset.t] ??= [node.textContent, portuguese[node.dataset.t]];
	}
	// For browser tests.
	for (const node of document.querySelectorAll('[id]')) node.dataset.testid = node.id;
	const names = location.hash.slice(1).split('&').filter(validChannel);
	el('event-data').value = JSON.stringify({ message: t('hello') }, null, 2);
	listen();
	names.forEach((name) => client.subscribe(name, me()));
	if (names.length) el('channel-input').value = el('event-channel').value = names[0];
	translate();
	client.connect();
}

start();
