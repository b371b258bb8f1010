/** VitePress' own texts in Portuguese. */
export const portuguese = {
  outline: { level: [2, 3], label: 'Nesta página' },
  docFooter: { prev: 'Página anterior', next: 'Próxima página' },
  darkModeSwitchLabel: 'Aparência',
  lightModeSwitchTitle: 'Mudar para o tema claro',
  darkModeSwitchTitle: 'Mudar para o tema escuro',
  sidebarMenuLabel: 'Menu',
  returnToTopLabel: 'Voltar ao topo',
  langMenuLabel: 'Mudar de idioma',
  skipToContentLabel: 'Pular para o conteúdo',
  notFound: {
    title: 'PÁGINA NÃO ENCONTRADA',
    quote: 'O endereço mudou ou nunca existiu. A busca encontra todas as páginas.',
    linkLabel: 'ir para o início',
    linkText: 'Ir para o início',
  },
};

export const searchInPortuguese = {
  button: { buttonText: 'Buscar', buttonAriaLabel: 'Buscar' },
  modal: {
    displayDetails: 'Mostrar detalhes',
    resetButtonTitle: 'Limpar a busca',
    backButtonTitle: 'Fechar a busca',
    noResultsText: 'Nenhum resultado para',
    footer: {
      selectText: 'abrir',
      selectKeyAriaLabel: 'enter',
      navigateText: 'navegar',
      navigateUpKeyAriaLabel: 'seta para cima',
      navigateDownKeyAriaLabel: 'seta para baixo',
      closeText: 'fechar',
      closeKeyAriaLabel: 'esc',
    },
  },
};
