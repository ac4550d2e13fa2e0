'use strict';
// What the open run waits for: one card for each call, with a form for those who may answer. A card that is there stays
// as it is, with what was typed into it, until the call is answered, here or elsewhere.

class Asks {
    /** `submit(url, form, button)` posts the form and tells how it went. `base` is null for those who may only look. */
    constructor(container, base, submit) {
        this.container = container;
        this.base = base;
        this.submit = submit;
        this.cards = new Map();
    }

    draw(asks) {
        const keys = asks.map((ask) => `${ask.waiting_for}-${ask.call.call_id}`);
        for (const [key, card] of this.cards) {
            if (!keys.includes(key)) {
                card.remove();
                this.cards.delete(key);
            }
        }
        asks.forEach((ask, number) => {
            if (this.cards.has(keys[number])) return;
            const card = this.card(ask);
            this.cards.set(keys[number], card);
            this.container.append(card);
        });
        this.container.hidden = !asks.length;
    }

    card(ask) {
        const approval = ask.waiting_for === 'approval';
        const card = element('section', 'card ask');
        card.dataset.call = ask.call.call_id;
        const head = element('h2');
        head.append(approval ? 'Approval wanted: ' : 'The client is to answer: ', element('code', '', ask.call.name));
        card.append(head);
        if (ask.expires_at) {
            const until = element('p', 'quiet', 'Given up ');
            until.append(moment(ask.expires_at));
            card.append(until);
        }
        if (!this.base) card.append(element('pre', 'block', pretty(ask.call.arguments)));
        else card.append(approval ? this.approval(ask) : this.answer(ask));
        return card;
    }

    approval(ask) {
        const form = this.form(`${this.base}runs/${ask.run_id}/decide/`, ask.call.call_id);
        const size = Math.min(14, pretty(ask.call.arguments).split('\n').length + 1);
        const edited = this.area('arguments', 'Arguments; what you change here is what is done', size, 'json-field');
        const area = edited.lastChild;
        area.value = pretty(ask.call.arguments);
        // Sent only where they were changed: a browser rounds long numbers.
        area.removeAttribute('name');
        area.addEventListener('input', () => { area.name = 'arguments'; });
        const reason = element('label', 'ask-field', 'Reason, if you deny it; the model reads it');
        const input = element('input', 'vTextField');
        Object.assign(input, {name: 'reason', type: 'text', maxLength: 1000, autocomplete: 'off'});
        // Enter would press the first button, which approves.
        input.addEventListener('keydown', (event) => { if (event.key === 'Enter') event.preventDefault(); });
        reason.append(input);
        form.append(edited, reason, this.buttons('decision', [
            ['approve', 'Approve', 'button'], ['deny', 'Deny', 'button danger-button'],
        ]));
        return form;
    }

    answer(ask) {
        const form = this.form(`${this.base}answer/`, ask.call.call_id);
        form.append(
            element('pre', 'block', pretty(ask.call.arguments)),
            this.area('output', 'Result, in the place of the client', 3, 'code-field'),
            this.buttons('outcome', [
                ['ok', 'Send result', 'button'], ['failed', 'Send as failed', 'button quiet-button'],
                ['refused', 'Refuse', 'button danger-button'],
            ]),
            element('p', 'quiet', 'A refusal ends the run; after a failure the model goes on.'),
        );
        return form;
    }

    form(url, callId) {
        const form = element('form', 'ask-form');
        const id = element('input');
        Object.assign(id, {type: 'hidden', name: 'call_id', value: callId});
        form.append(id);
        form.addEventListener('submit', (event) => {
            event.preventDefault();
            this.submit(url, form, event.submitter);
        });
        return form;
    }

    area(name, label, rows, className) {
        const field = element('label', 'ask-field', label);
        const area = element('textarea', className);
        Object.assign(area, {name, rows, spellcheck: false});
        field.append(area);
        return field;
    }

    buttons(name, choices) {
        const tools = element('div', 'tools');
        for (const [value, label, className] of choices) {
            const button = element('button', className, label);
            Object.assign(button, {type: 'submit', name, value});
            tools.append(button);
        }
        return tools;
    }
}
