import { ref } from 'vue';

/** Number in the title of the window. */
export const titleCount = ref(0);
