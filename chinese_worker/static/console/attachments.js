'use strict';
// The images of a message: those that are to be sent with it, and those that were.

/** What the server would refuse of these files, in words; empty where it takes them. */
function refusalOf(files, {max, each, together}) {
    const megabytes = (bytes) => `${Math.round(bytes / 104857.6) / 10} MiB`;
    if (files.length > max) return `A message has at most ${max} images.`;
    const large = files.find((file) => file.size > each);
    if (large) return `${large.name} is larger than ${megabytes(each)}.`;
    const all = files.reduce((sum, file) => sum + file.size, 0);
    return all > together ? `These images have ${megabytes(all)}; a message may have ${megabytes(together)}.` : '';
}

/** The field of files: a text is required only where there are none, and what is too large is never sent. */
class Attachments {
    constructor(input, text) {
        this.input = input;
        this.text = text;
        input.addEventListener('change', () => this.check());
    }

    check() {
        const {max, each, together} = this.input.dataset;
        const files = [...this.input.files];
        this.text.required = !files.length;
        this.input.setCustomValidity(refusalOf(files, {max: Number(max), each: Number(each), together: Number(together)}));
        this.input.reportValidity();
    }

    clear() {
        this.input.value = '';
        this.check();
    }
}

/** Images of a message that was sent, each a link to itself. */
function drawImages(images) {
    return images.map(({url, media_type: type, size_bytes: bytes}) => {
        const link = element('a', 'picture');
        Object.assign(link, {href: url, target: '_blank', rel: 'noopener'});
        const image = element('img');
        Object.assign(image, {src: url, loading: 'lazy', alt: `Image, ${type.slice(6).toUpperCase()}, ${Math.ceil(bytes / 1024)} KiB`});
        link.append(image);
        return link;
    });
}
