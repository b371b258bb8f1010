// Links, mentions and light Markdown in a message. The page inserts the parts as text, never as markup.

export interface Part {
	kind: 'text' | 'link' | 'mention' | 'code';
	text: string;
	/** A link's target. */
	href?: string;
	isBold?: boolean;
	isItalic?: boolean;
}

/** Marks touch the text that they enclose, so `2 * 3 * 4` and `snake_case_name` stay as they are. */
const PATTERN = new RegExp([
	/(?<link>https?:\/\/[^\s<>"]+)/,
	/\[(?<label>[^\]\n]+)\]\((?<target>https?:\/\/[^\s<>"()]+)\)/,
	/```\n?(?<block>[^]+?)\n?```/,
	/`(?<code>[^`\n]+)`/,
	/\*\*(?=\S)(?<bold>[^\n]+?)(?<=\S)\*\*/,
	/(?<![\p{L}\p{N}*_])(?<mark>[*_])(?=[^\s*_])(?<italic>[^\n]+?)(?<=[^\s*_]|\*\*)\k<mark>(?![\p{L}\p{N}*_])/u,
	/(?<![\p{L}\p{N}_@])@(?<login>[a-z0-9_]+)/u,
].map(({ source }) => source).join('|'), 'giu');

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
	const add = (...more: Part[]) => {
		for (const part of more) {
			const last = found.at(-1);
			const isPlain = part.kind === 'text' && !part.isBold && !part.isItalic;
			if (isPlain && last?.kind === 'text' && !last.isBold && !last.isItalic) last.text += part.text;
			else if (part.text) found.push(part);
		}
	};
	const text = (plain: string): Part => ({ kind: 'text', text: plain });
	let at = 0;
	for (const match of body.matchAll(PATTERN)) {
		const { link, label, target, block, code, bold, italic, login } = match.groups!;
		add(text(body.slice(at, match.index)));
		at = match.index + match[0].length;
		if (link) {
			const url = trimmed(link);
			add({ kind: 'link', text: url, href: url }, text(link.slice(url.length)));
		} else if (target) {
			add({ kind: 'link', text: label!, href: target });
		} else if (block ?? code) {
			add({ kind: 'code', text: (block ?? code)! });
		} else if (bold) {
			add(...parts(bold, logins).map((part) => ({ ...part, isBold: true })));
		} else if (italic) {
			add(...parts(italic, logins).map((part) => ({ ...part, isItalic: true })));
		} else {
			add({ kind: logins.includes(login!.toLowerCase()) ? 'mention' : 'text', text: match[0] });
		}
	}
	add(text(body.slice(at)));
	return found;
}
