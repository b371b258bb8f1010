// Updates travel as text, in JSON.

export function encode(bytes: Uint8Array): string {
	let text = '';
	// In pieces, as a call has a limited number of arguments.
	for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
	return btoa(text);
}

export function decode(text: string): Uint8Array {
	return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
