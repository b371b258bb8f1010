// Texts of the page in English and Portuguese.

const WORDS = {
	en: {
		inspector: 'inspector', title: 'Clarim: inspector', app: 'App', sections: 'Sections',
		token: 'Token', tokenHint: 'The value of INSPECTOR_TOKEN. It is kept until this tab is closed.',
		enter: 'Log in', wrongToken: 'Wrong token.', tooMany: 'Too many wrong tokens. Wait a few seconds.',
		live: 'Live', lost: 'No response from the server. Retrying…',
		overview: 'Overview', channels: 'Channels', connections: 'Connections', events: 'Events', webhooks: 'Webhooks',
		subscriptions: 'Subscriptions', members: 'Members', uptime: 'Uptime', version: 'Version',
		outboxes: 'Unsent data', received: 'From clients', deliveries: 'Deliveries',
		graphMessages: 'Messages per second', graphDeliveries: 'Deliveries per second',
		graphLatency: 'Publish latency, ms', perSecond: '{n}/s', p50: 'p50', p99: 'p99',
		published: 'Published', sent: 'Sent', time: 'Time',
		nodes: 'Nodes', alone: 'No cluster: only this node.', node: 'Node', thisOne: 'this node', other: 'another node',
		busUp: 'Bus connected, {n} ms', busDown: 'Bus lost', role: 'Role', bus: 'Bus',
		contains: 'Name contains', search: 'Search', firstPage: 'First page', nextPage: 'Next page', channel: 'Channel', users: 'Users',
		noChannels: 'No channel has subscribers.', noMatch: 'No match. {n} channels have subscribers.',
		countChannels: '{n} channels', countOf: '{n} of {total} channels',
		position: 'Position: offset {offset}, epoch {epoch}', noHistory: 'No history: no history rule matches this channel.',
		history: 'History', emptyHistory: 'No events are kept.', older: 'Older events', gap: 'Gap ({n}): events are missing here.',
		eventsHere: 'Live events of this channel', closeDetail: 'Close',
		membersOf: '{n} members', noMembers: 'Only presence channels have members.', partial: 'Some nodes did not reply.',
		connectionsHere: 'Connections of this channel on this node',
		wanted: 'Filter', thisNode: 'Connections of this node. The filter finds a part of id, user, channel, origin or address. One field: user:7 channel:orders.1 origin:shop address:10.0 transport:fallback (or ws, wss).',
		sortedNote: 'The first 100 in this order.', address: 'Address', transport: 'Transport',
		noConnections: 'This node has no connections.', noConnectionFound: 'No match on this node.', connection: 'Connection', age: 'Age', outbox: 'Send queue', origin: 'Origin',
		user: 'User', close: 'Close', closing: 'Connection {n} was closed. The client may reconnect.',
		sureClose: 'Close connection {n}?', closeEffect: 'The client reconnects at once and subscribes to its channels again.', cancel: 'Cancel', terminate: 'Terminate user',
		terminateHint: 'Closes all connections of a user of the selected app, on all nodes. The clients do not reconnect by themselves.',
		sureTerminate: 'Close all connections of user {n}?', terminated: 'All connections of user {n} were closed.',
		bytes: '{n} bytes', andMore: 'and {n} more', moreMembers: 'More members', noEvents: 'No events since this page was opened.',
		create: 'Publish an event', eventName: 'Event name', eventData: 'Data (JSON)', publish: 'Publish',
		badJson: 'Not valid JSON: {n}', wasPublished: 'Published.',
		stream: 'Live events', kind: 'Kind', all: 'All', filter: 'Filter', pause: 'Pause', resume: 'Resume', clear: 'Clear',
		connected: 'Connected', closed: 'Closed',
		streamNote: '{shown} shown, {dropped} skipped (limit: 200 per second).',
		webhooksHint: 'The latest webhook requests of this node, failures first. Send again puts the events back into the queue.',
		refresh: 'Refresh', noDeliveries: 'No webhooks sent yet.',
		endpoint: 'Endpoint', state: 'State', attempts: 'Attempts', replay: 'Send again', replayed: 'The events were queued again.',
		trying: 'pending', failed: 'failed', sentState: 'sent',
		alerts: 'Alerts', alertsHint: 'Of the last five minutes, while this page was open.',
		alertBus: 'The bus is disconnected: this node serves its own clients only.',
		alertLostOnBus: 'Lost messages to other nodes: {n}',
		alertSlow: 'Closed slow clients, whose send queue was full: {n}',
		alertRefused: 'Refused connections, code {detail}: {n}',
		alertRejected: 'Rejected client requests, {detail}: {n}',
		alertWebhooksFailed: 'Failed webhook requests: {n}',
		alertWebhooksDropped: 'Dropped webhook events: {n}',
		rejected_auth: 'invalid signature', rejected_channel: 'invalid channel name', rejected_duplicate: 'already subscribed',
		rejected_limit: 'limit exceeded', rejected_client_event: 'client event not allowed', rejected_rate: 'rate limit exceeded',
		rejected_malformed: 'not understood',
	},
	'pt-BR': {
		inspector: 'inspetor', title: 'Clarim: inspetor', app: 'App', sections: 'Seções',
		token: 'Token', tokenHint: 'O valor de INSPECTOR_TOKEN. Fica guardado até esta aba ser fechada.',
		enter: 'Entrar', wrongToken: 'Token incorreto.', tooMany: 'Muitos tokens errados. Espere alguns segundos.',
		live: 'Ao vivo', lost: 'O servidor não responde. Tentando de novo…',
		overview: 'Visão geral', channels: 'Canais', connections: 'Conexões', events: 'Eventos', webhooks: 'Webhooks',
		subscriptions: 'Inscrições', members: 'Membros', uptime: 'Tempo no ar', version: 'Versão',
		outboxes: 'Dados por enviar', received: 'De clientes', deliveries: 'Entregas',
		graphMessages: 'Mensagens por segundo', graphDeliveries: 'Entregas por segundo',
		graphLatency: 'Latência de publicação, ms', perSecond: '{n}/s', p50: 'p50', p99: 'p99',
		published: 'Publicados', sent: 'Enviados', time: 'Hora',
		nodes: 'Nós', alone: 'Sem cluster: só este nó.', node: 'Nó', thisOne: 'este nó', other: 'outro nó',
		busUp: 'Barramento conectado, {n} ms', busDown: 'Barramento desconectado', role: 'Papel', bus: 'Barramento',
		contains: 'O nome contém', search: 'Buscar', firstPage: 'Primeira página', nextPage: 'Próxima página', channel: 'Canal', users: 'Usuários',
		noChannels: 'Nenhum canal tem inscritos.', noMatch: 'Nenhum resultado. {n} canais têm inscritos.',
		countChannels: '{n} canais', countOf: '{n} de {total} canais',
		position: 'Posição: offset {offset}, época {epoch}', noHistory: 'Sem histórico: nenhuma regra de histórico corresponde a este canal.',
		history: 'Histórico', emptyHistory: 'Nenhum evento guardado.', older: 'Eventos anteriores', gap: 'Lacuna ({n}): faltam eventos aqui.',
		eventsHere: 'Eventos ao vivo deste canal', closeDetail: 'Fechar',
		membersOf: '{n} membros', noMembers: 'Só canais de presença têm membros.', partial: 'Alguns nós não responderam.',
		connectionsHere: 'Conexões deste canal neste nó',
		wanted: 'Filtro', thisNode: 'Conexões deste nó. O filtro encontra parte de id, usuário, canal, origem ou endereço. Um só campo: user:7 channel:orders.1 origin:loja address:10.0 transport:fallback (ou ws, wss).',
		sortedNote: 'As primeiras 100 nesta ordem.', address: 'Endereço', transport: 'Transporte',
		noConnections: 'Este nó não tem conexões.', noConnectionFound: 'Nenhum resultado neste nó.', connection: 'Conexão', age: 'Idade', outbox: 'Fila de envio', origin: 'Origem',
		user: 'Usuário', close: 'Fechar', closing: 'A conexão {n} foi fechada. O cliente pode se reconectar.',
		sureClose: 'Fechar a conexão {n}?', closeEffect: 'O cliente se reconecta em seguida e volta a se inscrever em seus canais.', cancel: 'Cancelar', terminate: 'Desconectar usuário',
		terminateHint: 'Fecha todas as conexões de um usuário do app selecionado, em todos os nós. Os clientes não se reconectam sozinhos.',
		sureTerminate: 'Fechar todas as conexões do usuário {n}?', terminated: 'Todas as conexões do usuário {n} foram fechadas.',
		bytes: '{n} bytes', andMore: 'e mais {n}', moreMembers: 'Mais membros', noEvents: 'Nenhum evento desde que esta página foi aberta.',
		create: 'Publicar um evento', eventName: 'Nome do evento', eventData: 'Dados (JSON)', publish: 'Publicar',
		badJson: 'JSON inválido: {n}', wasPublished: 'Publicado.',
		stream: 'Eventos ao vivo', kind: 'Tipo', all: 'Todos', filter: 'Filtro', pause: 'Pausar', resume: 'Continuar', clear: 'Limpar',
		connected: 'Conectou', closed: 'Fechou',
		streamNote: '{shown} na tela, {dropped} omitidos (limite: 200 por segundo).',
		webhooksHint: 'As últimas requisições de webhook deste nó, primeiro as que falharam. Enviar de novo devolve os eventos à fila.',
		refresh: 'Atualizar', noDeliveries: 'Nenhum webhook enviado ainda.',
		endpoint: 'Endpoint', state: 'Estado', attempts: 'Tentativas', replay: 'Enviar de novo', replayed: 'Os eventos voltaram para a fila.',
		trying: 'pendente', failed: 'falhou', sentState: 'enviado',
		alerts: 'Alertas', alertsHint: 'Dos últimos cinco minutos, com esta página aberta.',
		alertBus: 'O barramento está desconectado: este nó atende só os próprios clientes.',
		alertLostOnBus: 'Mensagens para outros nós perdidas: {n}',
		alertSlow: 'Clientes lentos fechados, com a fila de envio cheia: {n}',
		alertRefused: 'Conexões recusadas, código {detail}: {n}',
		alertRejected: 'Pedidos de clientes rejeitados, {detail}: {n}',
		alertWebhooksFailed: 'Requisições de webhook que falharam: {n}',
		alertWebhooksDropped: 'Eventos de webhook descartados: {n}',
		rejected_auth: 'assinatura inválida', rejected_channel: 'nome de canal inválido', rejected_duplicate: 'inscrição repetida',
		rejected_limit: 'limite excedido', rejected_client_event: 'evento de cliente não permitido', rejected_rate: 'limite de frequência excedido',
		rejected_malformed: 'mensagem inválida',
	},
};

const KEY = 'clarim-inspector-language';
const chosen = localStorage.getItem(KEY) ?? navigator.language;
export let language = chosen.toLowerCase().startsWith('pt') ? 'pt-BR' : 'en';

/** Returns a text with its placeholders filled in. */
export function t(name, values = {}) {
	const fill = typeof values === 'object' ? values : { n: values };
	return WORDS[language][name].replace(/\{(\w+)\}/g, (_, key) => String(fill[key]));
}

export const number = (value) => value.toLocaleString(language, { maximumFractionDigits: 2 });
export const time = (ms) => new Date(ms).toLocaleTimeString(language, { hour12: false });
export const exactTime = (ms) => new Date(ms).toLocaleTimeString(language, {
	hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hour12: false,
});

export function speak(choice) {
	language = choice;
	localStorage.setItem(KEY, choice);
	apply();
}

/** Translates the page. */
export function apply() {
	document.documentElement.lang = language;
	document.title = t('title');
	document.getElementById('language').value = language;
	for (const node of document.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
	for (const node of document.querySelectorAll('[data-label]')) node.setAttribute('aria-label', t(node.dataset.label));
}
