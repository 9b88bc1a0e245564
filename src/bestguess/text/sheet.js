"use strict";
// Shows one document at a time, keeps the votes, and hands them out as a file. Nothing leaves the page otherwise.
(() => {
  const find = id => document.getElementById(id);
  const main = document.querySelector("main");
  const articles = [...document.querySelectorAll("article")];
  const buttons = [...document.querySelectorAll("[data-vote]")];
  const strip = document.querySelector(".strip");
  const [comment, rater] = [find("comment"), find("rater")];
  const votes = articles.map(article => ({ document: Number(article.dataset.document), vote: null, comment: "" }));
  let [at, saved] = [0, true];

  const places = articles.map((_, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = i + 1;
    button.addEventListener("click", () => show(i));
    strip.append(document.createElement("li"));
    strip.lastChild.append(button);
    return button;
  });

  const mark = () => {
    const count = votes.filter(one => one.vote !== null).length;
    buttons.forEach(button => button.setAttribute("aria-pressed", button.dataset.vote === votes[at].vote));
    places.forEach((button, i) => {
      button.classList.toggle("voted", votes[i].vote !== null);
      button.setAttribute("aria-current", i === at);
      button.setAttribute("aria-label", `Document ${i + 1}, ${votes[i].vote === null ? "no vote yet" : "voted"}`);
    });
    find("place").textContent = `${count} of ${votes.length} voted`;
    find("save").textContent = `Save the votes (${count} of ${votes.length})`;
    find("back").disabled = at === 0;
    find("next").disabled = at === votes.length - 1;
  };

  const show = i => {
    at = Math.max(0, Math.min(votes.length - 1, i));
    articles.forEach((article, j) => { article.hidden = j !== at; });
    comment.value = votes[at].comment;
    mark();
  };

  const vote = choice => {
    votes[at].vote = votes[at].vote === choice ? null : choice; // the same again takes it back
    saved = false;
    mark();
  };

  const save = () => {
    const told = { version: 1, sheet: main.dataset.sheet, key: main.dataset.key, rater: rater.value.trim(), votes };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(told, null, 1) + "\n"], { type: "application/json" }));
    link.download = "votes.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    saved = true;
  };

  buttons.forEach(button => button.addEventListener("click", () => vote(button.dataset.vote)));
  comment.addEventListener("input", () => { votes[at].comment = comment.value; saved = false; });
  find("back").addEventListener("click", () => show(at - 1));
  find("next").addEventListener("click", () => show(at + 1));
  find("save").addEventListener("click", save);
  addEventListener("keydown", event => {
    if (event.target.matches("textarea, input") || event.ctrlKey || event.altKey || event.metaKey) return;
    const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const choice = { 1: "A", 2: "B", 0: "same" }[event.key];
    if (turn) show(at + turn);
    if (choice && !event.repeat) vote(choice);
  });
  addEventListener("beforeunload", event => { if (!saved) event.preventDefault(); });
  show(0);
})();
