/** What objects without a label are called in a file. */
export const UNNAMED = "object";

/** COCO's categories: a label has one id over all photos, unless an opened file has its own. */
export class Categories {
  #known = [];

  get names() {
    return this.#known.map(({ name }) => name).filter((name) => name !== UNNAMED);
  }

  /** Takes over the categories of a file, as far as names and ids are free. */
  learn(categories) {
    for (const category of categories) {
      const clash = ({ id, name }) => id === category.id || name === category.name;
      if (!this.#known.some(clash)) this.#known.push(category);
    }
  }

  /**
   * The categories of a file.
   * @param {string[]} labels that it needs
   * @param {{id: number, name: string}[]} own those that it has
   */
  of(labels, own) {
    const all = [...own];
    for (const name of labels) {
      if (all.some((category) => category.name === name)) continue;
      const known = this.#known.find((category) => category.name === name);
      const free = known && !all.some(({ id }) => id === known.id);
      const category = free ? known : { id: largestId([...all, ...this.#known]) + 1, name };
      if (!known) this.#known.push(category);
      all.push(category);
    }
    return all;
  }
}

/** The largest of the whole numbers among ids; 0 if there is none. */
export function largestId(rows) {
  return rows.reduce((most, { id }) => (Number.isInteger(id) ? Math.max(most, id) : most), 0);
}
