// What the page says, in two languages.

const WORDS = {
	en: {
		inspector: 'inspector', title: 'Clarim: inspector', app: 'App', sections: 'Sections',
		token: 'Token', tokenHint: 'The text in INSPECTOR_TOKEN. It is kept until this tab is closed.',
		enter: 'Enter', wrongToken: 'This is not the token.', tooMany: 'Too many wrong tokens. Wait a few seconds.',
		live: 'Live', lost: 'No answer from the server; trying again…',
		overview: 'Overview', channels: 'Channels', connections: 'Connections', events: 'Events', webhooks: 'Webhooks',
		subscriptions: 'Subscriptions', members: 'Members', uptime: 'Running for', version: 'Version',
		outboxes: 'Waiting to be sent', received: 'From clients', deliveries: 'Deliveries',
		graphConnections: 'Connections', graphMessages: 'Messages per second',
		graphLatency: 'Publish to outboxes, ms', perSecond: '{n}/s', mean: 'mean', p99: '99 of 100',
		published: 'Published', sent: 'Sent', time: 'Time',
		nodes: 'Nodes', alone: 'This node stands alone.', node: 'Node', thisOne: 'this node', other: 'another node',
		busUp: 'Bus connected, {n} ms', busDown: 'Bus lost', role: 'Role', bus: 'Bus',
		prefix: 'Name begins with', search: 'Search', more: 'More', channel: 'Channel', users: 'Users',
		noChannels: 'No channel has subscribers.', countChannels: '{n} channels', show: 'Show',
		membersOf: '{n} members', noMembers: 'Only presence channels have members.', partial: 'Not all nodes have answered.',
		connectionsHere: 'Its connections on this node',
		wanted: 'Connection id or channel', thisNode: 'Connections of this node.',
		noConnections: 'No connection found.', connection: 'Connection', age: 'Age', outbox: 'Outbox', origin: 'Origin',
		user: 'User', close: 'Close', closing: 'Connection {n} is closed. Its client may come back.',
		sureClose: 'Close connection {n}?', terminate: 'Terminate user',
		terminateHint: 'Closes all connections of a user of the app chosen above, on all nodes. Their clients do not come back by themselves.',
		sureTerminate: 'Close all connections of user {n}?', terminated: 'All connections of user {n} are closed.',
		bytes: '{n} bytes', andMore: 'and {n} more',
		create: 'Create an event', eventName: 'Event name', eventData: 'Data (JSON)', publish: 'Publish',
		badJson: 'Not valid JSON: {n}', wasPublished: 'Published.',
		stream: 'Live events', kind: 'Kind', all: 'All', filter: 'Filter', pause: 'Pause', resume: 'Go on', clear: 'Clear',
		connected: 'Connected', closed: 'Closed',
		streamNote: '{shown} shown. At most 200 a second are kept; {dropped} were not.',
		webhooksHint: 'The last requests of this node to webhooks. Sending again puts the events into the queue once more.',
		refresh: 'Refresh', noDeliveries: 'Nothing has been sent yet.',
		endpoint: 'Endpoint', state: 'State', attempts: 'Attempts', replay: 'Send again', replayed: 'The events are queued again.',
		trying: 'trying', failed: 'given up', sentState: 'sent',
	},
	'pt-BR': {
		inspector: 'inspetor', title: 'Clarim: inspetor', app: 'Aplicativo', sections: 'Seções',
		token: 'Token', tokenHint: 'O texto de INSPECTOR_TOKEN. Fica guardado até esta aba ser fechada.',
		enter: 'Entrar', wrongToken: 'O token não é este.', tooMany: 'Muitos tokens errados. Espere alguns segundos.',
		live: 'Ao vivo', lost: 'O servidor não responde; tentando de novo…',
		overview: 'Visão geral', channels: 'Canais', connections: 'Conexões', events: 'Eventos', webhooks: 'Webhooks',
		subscriptions: 'Inscrições', members: 'Membros', uptime: 'No ar há', version: 'Versão',
		outboxes: 'À espera de envio', received: 'De clientes', deliveries: 'Entregas',
		graphConnections: 'Conexões', graphMessages: 'Mensagens por segundo',
		graphLatency: 'Da publicação às caixas de saída, ms', perSecond: '{n}/s', mean: 'média', p99: '99 de 100',
		published: 'Publicados', sent: 'Enviados', time: 'Hora',
		nodes: 'Nós', alone: 'Este nó está sozinho.', node: 'Nó', thisOne: 'este nó', other: 'outro nó',
		busUp: 'Barramento conectado, {n} ms', busDown: 'Barramento perdido', role: 'Papel', bus: 'Barramento',
		prefix: 'O nome começa com', search: 'Buscar', more: 'Mais', channel: 'Canal', users: 'Usuários',
		noChannels: 'Nenhum canal tem inscritos.', countChannels: '{n} canais', show: 'Mostrar',
		membersOf: '{n} membros', noMembers: 'Só canais de presença têm membros.', partial: 'Nem todos os nós responderam.',
		connectionsHere: 'Suas conexões neste nó',
		wanted: 'Id da conexão ou canal', thisNode: 'Conexões deste nó.',
		noConnections: 'Nenhuma conexão encontrada.', connection: 'Conexão', age: 'Idade', outbox: 'Caixa de saída', origin: 'Origem',
		user: 'Usuário', close: 'Fechar', closing: 'A conexão {n} foi fechada. O cliente pode voltar.',
		sureClose: 'Fechar a conexão {n}?', terminate: 'Encerrar usuário',
		terminateHint: 'Fecha todas as conexões de um usuário do aplicativo escolhido acima, em todos os nós. Os clientes não voltam sozinhos.',
		sureTerminate: 'Fechar todas as conexões do usuário {n}?', terminated: 'Todas as conexões do usuário {n} foram fechadas.',
		bytes: '{n} bytes', andMore: 'e mais {n}',
		create: 'Criar um evento', eventName: 'Nome do evento', eventData: 'Dados (JSON)', publish: 'Publicar',
		badJson: 'JSON inválido: {n}', wasPublished: 'Publicado.',
		stream: 'Eventos ao vivo', kind: 'Tipo', all: 'Todos', filter: 'Filtro', pause: 'Pausar', resume: 'Continuar', clear: 'Limpar',
		connected: 'Conectou', closed: 'Fechou',
		streamNote: '{shown} na tela. Até 200 por segundo são guardados; {dropped} não foram.',
		webhooksHint: 'Os últimos pedidos deste nó aos webhooks. Enviar de novo põe os eventos na fila outra vez.',
		refresh: 'Atualizar', noDeliveries: 'Nada foi enviado ainda.',
		endpoint: 'Destino', state: 'Estado', attempts: 'Tentativas', replay: 'Enviar de novo', replayed: 'Os eventos estão na fila outra vez.',
		trying: 'tentando', failed: 'desistiu', sentState: 'enviado',
	},
};

const KEY = 'clarim-inspector-language';
const chosen = localStorage.getItem(KEY) ?? navigator.language;
export let language = chosen.toLowerCase().startsWith('pt') ? 'pt-BR' : 'en';

/** A text; what stands in braces is put in. */
export function t(name, values = {}) {
	const fill = typeof values === 'object' ? values : { n: values };
	return WORDS[language][name].replace(/\{(\w+)\}/g, (_, key) => String(fill[key]));
}

export const number = (value) => value.toLocaleString(language, { maximumFractionDigits: 2 });
export const time = (ms) => new Date(ms).toLocaleTimeString(language, { hour12: false });

export function speak(choice) {
	language = choice;
	localStorage.setItem(KEY, choice);
	apply();
}

/** Puts the words where the page wants them. */
export function apply() {
	document.documentElement.lang = language;
	document.title = t('title');
	document.getElementById('language').value = language;
	for (const node of document.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
	for (const node of document.querySelectorAll('[data-label]')) node.setAttribute('aria-label', t(node.dataset.label));
}
