// Requests to the server. The token is kept until the tab is closed.

const KEY = 'clarim-inspector-token';

/** An error response; `status` 0: no response. */
export class Refusal extends Error {
	constructor(status, text) {
		super(text);
		this.status = status;
	}
}

export const setToken = (token) => sessionStorage.setItem(KEY, token);
export const hasToken = () => Boolean(sessionStorage.getItem(KEY));
export const forgetToken = () => sessionStorage.removeItem(KEY);

async function request(method, path, body) {
	const headers = {};
	const token = sessionStorage.getItem(KEY);
	if (token) headers.authorization = `Bearer ${token}`;
	let answer;
	try {
		answer = await fetch(`inspector/api/${path}`, {
			method, headers, body, cache: 'no-store', signal: AbortSignal.timeout(10_000),
		});
	} catch (error) {
		throw new Refusal(0, error.message);
	}
	if (!answer.ok) throw new Refusal(answer.status, (await answer.text()).trim());
	return answer.json();
}

export const get = (path, params = {}) => {
	const given = Object.entries(params).filter(([, value]) => value != null && value !== '');
	const query = new URLSearchParams(given);
	return request('GET', query.size ? `${path}?${query}` : path);
};
export const post = (path, body) => request('POST', path, body && JSON.stringify(body));
export const part = encodeURIComponent;
