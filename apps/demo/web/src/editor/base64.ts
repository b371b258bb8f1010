// Base64, because updates are sent in JSON.

export function encode(bytes: Uint8Array): string {
	let text = '';
	// In chunks, because the number of arguments of a call is limited.
	for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
	return btoa(text);
}

export function decode(text: string): Uint8Array {
	return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
