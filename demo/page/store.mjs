// What the browser keeps of this session, so that a reload loses nothing. It stays in the browser.

const [DATABASE, TABLE, KEY] = ["pg2lib-page", "session", "last"];

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function within(mode, work) {
  const database = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(TABLE, mode);
      const request = work(transaction.objectStore(TABLE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** The last session, or null. A browser that forbids storage (private windows) has none. */
export async function recall() {
  try {
    return (await within("readonly", (table) => table.get(KEY))) ?? null;
  } catch (error) {
    console.warn("this browser keeps nothing over a reload:", error);
    return null;
  }
}

export async function remember(session) {
  try {
    await within("readwrite", (table) => table.put(session, KEY));
  } catch (error) {
    console.warn("this browser keeps nothing over a reload:", error);
  }
}

export async function forget() {
  await within("readwrite", (table) => table.delete(KEY));
}
