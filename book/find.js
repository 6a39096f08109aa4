"use strict";
// Finds the sections that a question is about. The index is made here, from the text in
// search.js, when somebody searches for the first time: in a fraction of a second. (The
// library lunr took fifteen times as long, and put "copy on write" into Chapter 8.)

rustica.find = (() => {

// ---- Words ----

const common = new Set(("a an and are as at be by can do does for from has have how i in is it " +
    "its of on or that the this to was what when where which why will with").split(" "));

const stemmed = new Map();

function stem(word) {                           // pages, paged, paging: pag
    if (!stemmed.has(word)) stemmed.set(word, toStem(word));
    return stemmed.get(word);
}

function toStem(word) {
    if (word.length < 4 || /[_\d]/.test(word)) return word;
    word = word.replace(/ie[sd]?$/, "y").replace(/(ss|x|ch|sh)es$/, "$1")
        .replace(/([^isu])s$/, "$1");
    const short = word.replace(/(ing|ed)$/, "");
    if (short !== word && /[aeiouy]/.test(short) && short.length > 1)
        word = short.replace(/([^aeiouylsd])\1$/, "$1");
    return word.replace(/e$/, "");
}

const split = (text) => text.match(/[A-Za-z0-9_]+/g) ?? [];
const stems = (text) => split(text.toLowerCase()).map(stem);

function distance(a, b, limit) {                // letters wrong, missing, too many or swapped
    if (Math.abs(a.length - b.length) > limit) return limit + 1;
    let before = [], last = [...Array(b.length + 1).keys()];
    for (let i = 1; i <= a.length; i++) {
        const row = [i];
        for (let k = 1; k <= b.length; k++) {
            row[k] = Math.min(last[k] + 1, row[k - 1] + 1, last[k - 1] + (a[i - 1] !== b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] === b[k - 2] && a[i - 2] === b[k - 1])
                row[k] = Math.min(row[k], before[k - 2] + 1);
        }
        [before, last] = [last, row];
    }
    return last[b.length];
}

// ---- The index: where each word is, and how much it counts there ----

const sections = rustica.sections.map(([page, id, title, text, terms, names, weight]) =>
    ({ page, id, title, text, names, weight, stream: ` ${stems(text).join(" ")} `,
       heads: ` ${[title, ...terms].map((one) => stems(one).join(" ")).join(" . ")} ` }));
const places = new Map(), spelt = new Map();

function enter(word, n, count) {
    if (!places.has(word)) places.set(word, new Map());
    const of = places.get(word);
    of.set(n, (of.get(n) ?? 0) + count);
}

sections.forEach((section, n) => {
    section.size = 0;
    for (const word of split(section.text.toLowerCase())) {
        const one = stem(word);
        section.size++;
        enter(one, n, 1);
        if (!spelt.has(one) || word.length < spelt.get(one).length) spelt.set(one, word);
        if (!word.includes("_")) continue;
        for (const part of word.split("_").filter(Boolean)) enter(stem(part), n, 0.2);
    }
    for (const word of stems(section.title)) enter(word, n, 12);
    for (const word of section.heads.trim().split(" ")) enter(word, n, 4);
    for (const [name] of section.names)
        for (const part of name.toLowerCase().match(/[a-z0-9]+/g)) enter(stem(part), n, 8);
});
const usual = sections.reduce((sum, section) => sum + section.size, 0) / sections.length;

// ---- Questions ----

const quoted = (text) => `\u201c${text}\u201d`;

function similar(word) {
    const limit = /\d/.test(word) ? 0 : word.length > 6 ? 2 : word.length > 3 ? 1 : 0;
    let best = [], least = limit + 1;
    for (const [other, shown] of spelt) {
        const d = other[0] === word[0] || limit === 1 ? distance(word, other, limit) : limit + 1;
        if (d < least) [best, least] = [[], d];
        if (d === least && d <= limit) best.push([places.get(other).size, other, shown]);
    }
    return best.sort((a, b) => b[0] - a[0])[0];
}

// The places of a word; of those that begin with it; or of one that is spelt much like it.
function lookUp(word, typed, said) {
    if (places.has(word)) return [[word], places.get(word)];
    const begun = typed.length > 1 ? [...places.keys()].filter((w) => w.startsWith(word)) : [];
    if (begun.length) {
        const all = new Map();
        for (const one of begun)
            for (const [n, count] of places.get(one)) all.set(n, (all.get(n) ?? 0) + count);
        return [begun, all];
    }
    const other = similar(word);
    said.push(`The word ${quoted(typed)} does not occur in the book` +
              (other ? `; this is about ${quoted(other[2])}.` : "."));
    return other ? [[other[1]], places.get(other[1])] : null;
}

function score(question, said) {
    const typed = split(question.toLowerCase()), scores = new Map(), marks = new Set();
    let words = typed.filter((word) => !common.has(word)), found = 0, weight = 0;
    if (!words.length) words = typed;
    for (const one of new Set(words)) {
        const [which, where] = lookUp(stem(one), one, said) ?? [];
        if (!which) continue;
        const rare = Math.log(1 + sections.length / where.size);
        found++;
        weight += rare;
        for (const word of which) marks.add(word);
        for (const [n, count] of where) {
            const length = 0.4 + 0.6 * sections[n].size / usual;
            const [sum, words] = scores.get(n) ?? [0, 0];
            scores.set(n, [sum + rare * 2.2 * count / (count + 1.2 * length), words + 1]);
        }
    }
    const all = [...scores].filter(([, [, words]]) => words === found);
    const phrase = typed.length > 1 ? ` ${typed.map(stem).join(" ")} ` : null;
    const hits = (all.length ? all : [...scores]).map(([n, [sum]]) => {
        const { stream, heads } = sections[n];
        const times = phrase ? stream.split(phrase).length - 1 : 0;
        if (times) sum += weight * (1 + 2 * times / (times + 1));
        if (phrase && heads.includes(phrase)) sum += weight * 2;
        return [n, sum * sections[n].weight];
    });
    const exact = !phrase || sections.some(({ stream, heads }) =>
        stream.includes(phrase) || heads.includes(phrase));
    return { hits, marks, phrase, exact };
}

// Two words that somebody has written as one.
function apart(word) {
    for (let at = 2; at < word.length - 1 && !places.has(stem(word)); at++) {
        const two = `${word.slice(0, at)} ${word.slice(at)}`, phrase = ` ${stems(two).join(" ")} `;
        if (sections.some(({ stream }) => stream.includes(phrase))) return two;
    }
    return null;
}

// The question, and what it is where the book has another word for it.
function meanings(question) {
    const asked = ` ${stems(question).join(" ")} `, out = [[question, null]];
    for (const [theirs, ...ours] of rustica.synonyms) {
        const key = ` ${stems(theirs).join(" ")} `;
        for (const one of asked.includes(key) ? ours : [])
            out.push([asked.replace(key, ` ${one} `).trim(), [theirs, one]]);
    }
    for (const word of split(question.toLowerCase())) {
        const two = word.length > 5 && apart(word);
        if (two) out.push([question.toLowerCase().replace(word, two), [word, two]]);
    }
    return out;
}

function excerpt({ text }, marks, phrase) {
    const words = [...text.matchAll(/[A-Za-z0-9_]+/g)];
    const hit = (word) => {
        const one = stem(word.toLowerCase());
        return marks.has(one) || one.split("_").some((part) => marks.has(stem(part)));
    };
    const parts = phrase?.trim().split(" ");
    const same = (_, i) => parts.every((part, k) => words[i + k] &&
                                       stem(words[i + k][0].toLowerCase()) === part);
    let first = parts ? words.findIndex(same) : -1;
    if (first < 0) first = words.findIndex((word) => hit(word[0]));
    const near = words[Math.max(first, 0)]?.index - 60;
    const at = near > 0 ? text.lastIndexOf(" ", near) + 1 : 0;
    return text.slice(at, at + 200).split(/([A-Za-z0-9_]+)/).map((piece, i) =>
        i % 2 && hit(piece) ? `<mark>${piece}</mark>` : escaped(piece)).join("");
}

function definitions(question) {
    const wanted = question.trim().replace(/\(.*$/, "").toLowerCase();
    return sections.flatMap(({ page, title, names, weight }) => names
        .map(([name, id]) => [name.replace("()", "").toLowerCase(), name, id])
        .filter(([plain]) => plain === wanted || plain.replace(/^\w+ /, "") === wanted)
        .map(([, name, id]) => ({ href: `${page}#${id}`, title: name, weight,
                                  text: `defined in ${title}` })));
}

// 8250, L8250, efi_main.c:120: where that line is.
function line(question) {
    const form = /^(?:line\s+)?(?:([\w./]+)[: ])?L?(\d+)$/i;
    const [, file, number] = question.trim().match(form) ?? [];
    for (const [start, [name, last, starts]] of Object.entries(rustica.lines))
        if (number && number > 0 && +number <= last &&
            (file ? name === file || name.endsWith("/" + file) : start === "")) {
            const [, page, title] = starts.findLast((one) => one[0] <= number) ?? starts[0];
            return [{ href: `${page}#${start}L${+number}`, title: `${name}:${+number}`,
                      text: `the line, in ${title}` }];
        }
    return [];
}

return (question) => {
    const at = line(question), defined = definitions(question), best = new Map(), see = [];
    if (at.length && /\D/.test(question)) return { said: [], hits: at };
    let said = [], vague = false;
    for (const [text, other] of meanings(question)) {
        const complaints = [], { hits, marks, phrase, exact } = score(text, complaints);
        if (!other) [said, vague] = [complaints, complaints.length || !exact];
        else if (complaints.length || !hits.length) continue;
        else see.push(`For ${quoted(other[0])} see ${quoted(other[1])}.`);
        for (const [n, points] of hits)
            if (!(best.get(n)?.[0] >= points)) best.set(n, [points, marks, phrase, other]);
    }
    if (vague && see.length) {                  // the answer is not to what was asked
        said = see;
        for (const [n, one] of best) if (!one[3]) best.delete(n);
    }
    const hits = [...best].sort((a, b) => b[1][0] - a[1][0]).slice(0, 30)
        .map(([n, [, marks, phrase]]) => ({
            href: `${sections[n].page}#${sections[n].id}`, title: sections[n].title,
            html: excerpt(sections[n], marks, phrase) }));
    hits.splice(3, 0, ...defined.filter(({ weight }) => weight < 1));
    return { said: at.length ? [] : said,
             hits: [...at, ...defined.filter(({ weight }) => weight === 1), ...hits] };
};
})();
