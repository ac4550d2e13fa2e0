'use strict';
// What was said, as bubbles. Text comes from models and tools: it is only ever put into text nodes.

/** Length in code points, the unit in which the server counts. */
function codePoints(text) {
    let length = 0;
    for (const _ of text) length += 1;
    return length;
}

/** An element with a class and a text, both optional. */
function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
}

function badge(status) {
    return element('span', `badge badge-${status}`, status.replaceAll('_', ' '));
}

function moment(iso) {
    const time = element('time', '', relativeTime(new Date(iso)));
    time.dateTime = iso;
    time.dataset.ago = '';
    return time;
}

/** One message on the page: a bubble that can be redrawn, or grown at its end. */
class Bubble {
    constructor(message, mayFork) {
        this.mayFork = mayFork;
        this.root = element('article', '');
        this.head = element('header', 'bubble-head');
        this.thinking = this.folded('Thinking', 'thinking');
        this.text = element('div', 'bubble-text');
        this.images = element('div', 'pictures');
        this.calls = element('div', 'calls');
        this.root.append(this.head, this.thinking, this.images, this.text, this.calls);
        this.draw(message);
    }

    folded(title, className) {
        const details = element('details', className);
        details.append(element('summary', '', title), element('div', 'bubble-text'));
        details.hidden = true;
        return details;
    }

    draw(message) {
        this.message = message;
        this.sizes = {content: codePoints(message.content || ''), thinking: codePoints(message.thinking || '')};
        this.root.className = `bubble bubble-${message.role}`;
        this.root.dataset.role = message.role;
        this.root.dataset.status = message.status;
        if (message.id) this.root.id = `message-${message.id}`;
        this.drawHead();
        this.put(this.text, message.content || '');
        this.put(this.thinking.lastChild, message.thinking || '');
        this.putImages(message.images || []);
        const open = new Set([...this.calls.querySelectorAll('details[open]')].map((one) => one.dataset.call));
        this.calls.replaceChildren(...(message.tool_calls || []).map((call) => drawCall(call, open.has(call.call_id))));
        this.settle();
    }

    drawHead() {
        const {role, name, created_at: createdAt, token_count: tokens, status} = this.message;
        const parts = [element('strong', '', name ? `${role} ${name}` : role)];
        if (createdAt) parts.push(moment(createdAt));
        if (tokens) parts.push(element('span', '', `${tokens} tokens`));
        if (status && status !== 'complete') parts.push(badge(status));
        if (this.mayFork && this.message.position && status !== 'streaming') parts.push(this.forkButton());
        this.head.replaceChildren(...parts);
    }

    forkButton() {
        const button = element('button', 'fork', 'Fork here');
        Object.assign(button, {type: 'button', title: 'A new conversation that begins as this one did, up to here'});
        button.dataset.position = this.message.position;
        return button;
    }

    /** Drawn once: they never change, and would have to be loaded again. */
    putImages(images) {
        if (this.images.childElementCount !== images.length) this.images.replaceChildren(...drawImages(images));
    }

    put(target, text) {
        if (target.textContent !== text) target.replaceChildren(document.createTextNode(text));
    }

    /** Add streamed text. */
    grow(type, chunk) {
        const target = type === 'thinking' ? this.thinking.lastChild : this.text;
        if (!target.firstChild) target.append(document.createTextNode(''));
        target.firstChild.appendData(chunk);
        this.message[type] = (this.message[type] || '') + chunk;
        this.sizes[type] += codePoints(chunk);
        this.settle();
    }

    /** Hide what is empty: a message that only calls a tool has no text, and one that was just begun has nothing. */
    settle() {
        const {content, thinking, images, tool_calls: calls} = this.message;
        const more = Boolean((calls && calls.length) || (images && images.length));
        this.text.hidden = !content;
        this.thinking.hidden = !thinking;
        this.root.hidden = !content && !thinking && !more;
    }
}

/** All bubbles of a conversation, and for each run how much of its text is on the page. */
class Transcript {
    constructor(container, mayFork) {
        this.container = container;
        this.mayFork = mayFork;
        this.bubbles = new Map();
        this.order = [];
    }

    /**
     * Draw what the database says. Where the page is further, in the text of runs that are `underway`, it stays so:
     * what was asked of the database may be older than what the stream said since.
     */
    draw(messages, underway) {
        const counts = new Map();
        const keys = messages.filter((message) => !this.isShownInCall(message, messages)).map((message) => {
            const key = this.keyOf(message, counts);
            const bubble = this.bubbles.get(key);
            if (bubble) bubble.draw(this.newer(bubble.message, message));
            else this.bubbles.set(key, new Bubble({...message}, this.mayFork));
            return key;
        });
        const ahead = this.order.filter((key) => !keys.includes(key) && underway.has(this.bubbles.get(key).message.run_id));
        const waiting = keys.findIndex((key) => this.bubbles.get(key).message.status === 'queued');
        keys.splice(waiting < 0 ? keys.length : waiting, 0, ...ahead);
        for (const key of [...this.bubbles.keys()]) {
            if (!keys.includes(key)) this.bubbles.delete(key);
        }
        this.order = keys;
        this.container.replaceChildren(...keys.map((key) => this.bubbles.get(key).root));
    }

    /** A tool's answer stands in the call that asked for it. */
    isShownInCall(message, messages) {
        return message.role === 'tool' && messages.some(
            (other) => (other.tool_calls || []).some((call) => call.call_id === message.tool_call_id));
    }

    /** A run's answers are known by run and number, also before the database has them; other messages by id. */
    keyOf(message, counts) {
        if (message.role !== 'assistant' || !message.run_id) return `message-${message.id}`;
        const number = (counts.get(message.run_id) || 0) + 1;
        counts.set(message.run_id, number);
        return `run-${message.run_id}-${number}`;
    }

    newer(shown, stored) {
        if (stored.status !== 'streaming') return stored;
        const keep = (name) => ((shown[name] || '').startsWith(stored[name] || '') ? shown[name] : stored[name]);
        return {...stored, content: keep('content'), thinking: keep('thinking')};
    }

    answersOf(runId) {
        return this.order.filter((key) => key.startsWith(`run-${runId}-`)).map((key) => this.bubbles.get(key));
    }

    /** Code points of this type that the page has of the run. */
    length(runId, type) {
        return this.answersOf(runId).reduce((sum, bubble) => sum + bubble.sizes[type], 0);
    }

    /** The bubble of a run's turn, made if need be. */
    answer(runId, turn) {
        let answers = this.answersOf(runId);
        while (answers.length < Math.max(1, turn)) {
            const key = `run-${runId}-${answers.length + 1}`;
            const bubble = new Bubble({role: 'assistant', run_id: runId, status: 'streaming', content: '', thinking: ''}, this.mayFork);
            this.bubbles.set(key, bubble);
            this.order.push(key);
            this.place(bubble);
            answers = this.answersOf(runId);
        }
        return answers[answers.length - 1];
    }

    /** Before the messages that wait for their turn. */
    place(bubble) {
        const waiting = this.container.querySelector('[data-role="user"][data-status="queued"]');
        this.container.insertBefore(bubble.root, waiting);
    }

    /**
     * Add a streamed chunk where it belongs: what the page has already is left out.
     * False where something before it is missing.
     */
    add({run_id: runId, turn, type, chunk, offset}) {
        const have = this.length(runId, type);
        if (offset > have) return false;
        const fresh = Array.from(chunk).slice(have - offset).join('');
        if (fresh) this.answer(runId, turn).grow(type, fresh);
        return true;
    }

    /** Replace the whole text of a run. */
    replace(runId, turn, text, thinking) {
        const answers = this.answersOf(runId);
        const last = this.answer(runId, turn);
        const rest = (whole, name) => {
            const before = answers.filter((one) => one !== last).map((one) => one.message[name] || '').join('');
            return whole.startsWith(before) ? whole.slice(before.length) : whole;
        };
        last.draw({...last.message, content: rest(text, 'content'), thinking: rest(thinking, 'thinking')});
    }

    /** A turn is taken again: what it had said is void. `from` counts the code points of earlier turns. */
    discard(runId, from) {
        const answers = this.answersOf(runId);
        let before = this.length(runId, 'content');
        while (answers.length && before > from) {
            const last = answers.pop();
            before -= last.sizes.content;
            const kept = Array.from(last.message.content || '').slice(0, Math.max(0, from - before)).join('');
            last.draw({...last.message, content: kept, thinking: ''});
        }
    }
}
