// Links and mentions in a message.

export interface Part {
	kind: 'text' | 'link' | 'mention';
	text: string;
}

const PATTERN = /(https?:\/\/[^\s<>"]+)|(?<![\p{L}\p{N}_@])@([a-z0-9_]+)/giu;

/** Punctuation at the end of a link belongs to the sentence, and so does a bracket that the link has not opened. */
function trimmed(link: string): string {
	let end = link.length;
	for (;;) {
		const last = link[end - 1]!;
		const isClosing = last === ')' && !link.slice(0, end).includes('(');
		if (!isClosing && !/[.,;:!?'"»”]/.test(last)) return link.slice(0, end);
		end -= 1;
	}
}

/** Splits a message. `logins` are those of the conversation's members. */
export function parts(body: string, logins: readonly string[]): Part[] {
	const found: Part[] = [];
	const add = (kind: Part['kind'], text: string) => {
		const last = found.at(-1);
		if (kind === 'text' && last?.kind === 'text') last.text += text;
		else if (text) found.push({ kind, text });
	};
	let at = 0;
	for (const match of body.matchAll(PATTERN)) {
		const [whole, link, login] = match;
		add('text', body.slice(at, match.index));
		at = match.index + whole.length;
		if (link) {
			const url = trimmed(link);
			add('link', url);
			add('text', link.slice(url.length));
		} else {
			add(logins.includes(login!.toLowerCase()) ? 'mention' : 'text', whole);
		}
	}
	add('text', body.slice(at));
	return found;
}
